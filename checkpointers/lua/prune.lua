-- ARGV: format. Keeps the latest checkpoint of each namespace and, for channels that it stores as a history of writes,
-- every ancestor back to the one that holds their value. Answers with the number of checkpoints removed.
local members = redis.call('ZRANGE', index, 0, -1)
local keep = {}
for at, member in ipairs(members) do
  local ns, id = split(member)
  local following = members[at + 1]
  if not following or split(following) ~= ns then
    keep[member] = true
    local record, wanted, left = checkpoint(ns, id), {}, 0
    for _, channel in ipairs(part(record, HISTORIES)) do
      wanted[channel] = true
      left = left + 1
    end
    while record and left > 0 do
      local parent = frames(record, 1)[1]
      record = parent ~= '' and checkpoint(ns, parent)
      if not record then break end
      keep[ns .. '\0' .. parent] = true
      for _, entry in ipairs(part(record, REFS)) do
        local channel = split(entry)
        if wanted[channel] and has_value(ns, entry) then
          wanted[channel] = nil
          left = left - 1
        end
      end
    end
  end
end
local gone = {}
for _, member in ipairs(members) do
  if not keep[member] then gone[#gone + 1] = member end
end
return remove(gone)
