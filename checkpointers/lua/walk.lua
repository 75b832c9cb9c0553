-- ARGV: format, ns, id or '' for the latest, limit, whether all is wanted that is needed to verify it ('1' or ''),
-- channels.
-- Walks the parents of a checkpoint until each channel has met a stored value. Answers {next id or '', steps, id, record}
-- with the checkpoint that it started at, to be verified; a step is {id, record, {entry, value, ...}, task, path, entries,
-- ...} with the writes of the wanted channels only, or all of them to be verified. Records are empty for who does not
-- verify.
local ns, id, limit, verified = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
local wanted, left = {}, 0
for at = 6, #ARGV do
  wanted[ARGV[at]] = true
  left = left + 1
end
if id == '' then id = latest(ns) or '' end
local record = id ~= '' and checkpoint(ns, id)
local start, whole = id, verified and record or ''
local steps, seen = {}, {}
while record and left > 0 and #steps < limit do
  local parent = frame_of(record, 1)
  record = parent ~= '' and checkpoint(ns, parent)
  if not record then
    id = ''
    break
  end
  -- One that goes over several pages is noticed by who puts them together.
  if seen[parent] then damaged(CIRCLE) end
  seen[parent] = true
  id = parent
  local found, step = {}, {parent, verified and record or '', false}
  local member = ns .. '\0' .. id
  for _, written in ipairs(blocks_of(member)) do
    local kept = {}
    local path, entries = entries_of(member, written)
    for _, entry in ipairs(write_entries(entries)) do
      if verified or wanted[entry[2]] then kept[#kept + 1] = entry[3] end
    end
    if #kept > 0 then
      step[#step + 1] = written[1]
      step[#step + 1] = path
      step[#step + 1] = table.concat(kept)
    end
  end
  for _, entry in ipairs(part(record, REFS)) do
    local channel = split(entry)
    if wanted[channel] and has_value(entry) then
      local _, value = stored_for(ns, entry)
      found[#found + 1] = entry
      found[#found + 1] = value or ''
      wanted[channel] = nil
      left = left - 1
    end
  end
  step[3] = found
  steps[#steps + 1] = step
end
if not record or left == 0 then id = '' end
return {id, steps, start, whole}
