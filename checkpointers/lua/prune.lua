-- ARGV: format, token, number to keep. Keeps the latest checkpoints of each namespace and, for channels that they store
-- as a history of writes, every ancestor back to the one that holds their value. Answers with the number removed.
local most = tonumber(ARGV[3])
local members = redis.call('ZRANGE', index, 0, -1)
local keep = {}

-- What a checkpoint's channels are rebuilt from.
local function keep_history(ns, id)
  local record, wanted, left = checkpoint(ns, id), {}, 0
  for _, channel in ipairs(part(record, HISTORIES)) do
    wanted[channel] = true
    left = left + 1
  end
  while record and left > 0 do
    local parent = frames(record, 1)[1]
    record = parent ~= '' and checkpoint(ns, parent)
    if not record then return end
    keep[ns .. '\0' .. parent] = true
    for _, entry in ipairs(part(record, REFS)) do
      local channel = split(entry)
      if wanted[channel] and has_value(entry) then
        wanted[channel] = nil
        left = left - 1
      end
    end
  end
end

local current, kept
for at = #members, 1, -1 do
  local ns, id = split(members[at])
  if ns ~= current then current, kept = ns, 0 end
  if kept < most then
    kept = kept + 1
    keep[members[at]] = true
    keep_history(ns, id)
  end
end
local gone = {}
for _, member in ipairs(members) do
  if not keep[member] then gone[#gone + 1] = member end
end
return remove(gone)
