-- ARGV: format, 'one' | 'all' namespaces, ns, id or '', before id or '', ns of the last row already seen (mode all),
-- limit, whether a last row was seen, ms that the thread is to live on for or ''. Answers {rows, values, more}: a row is
-- {ns, id, record, id of a parent that is there or '', task, path, entries, task, path, entries, ...}; values are pairs of
-- a field and its bytes, or a log's directory and segments, each once however many rows refer to it.
local mode, ns, id, before, last_ns, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

local picked = {}
if mode == 'one' and id ~= '' then
  if before == '' or below(id, before) then picked[1] = {ns, id} end
elseif mode == 'one' then
  local top = before == '' and '(' .. ns .. '\1' or '(' .. ns .. '\0' .. before
  for _, member in ipairs(redis.call('ZREVRANGEBYLEX', index, top, '[' .. ns .. '\0', 'LIMIT', 0, limit)) do
    picked[#picked + 1] = {ns, string.sub(member, #ns + 2)}
  end
else
  -- The newest of each namespace, which is found by a hop over the one before: never all that the index holds.
  local found = {}
  local member = redis.call('ZRANGEBYLEX', index, '-', '+', 'LIMIT', 0, 1)[1]
  while member do
    local its_ns = split(member)
    local too = ARGV[8] == '1' and below(its_ns, last_ns)
    if id ~= '' then
      local older = before == '' or below(id, before) or id == before and too
      if older and redis.call('ZSCORE', index, its_ns .. '\0' .. id) then found[#found + 1] = {its_ns, id} end
    else
      local top = before == '' and '(' .. its_ns .. '\1' or (too and '[' or '(') .. its_ns .. '\0' .. before
      for _, one in ipairs(redis.call('ZREVRANGEBYLEX', index, top, '[' .. its_ns .. '\0', 'LIMIT', 0, limit)) do
        found[#found + 1] = {its_ns, string.sub(one, #its_ns + 2)}
      end
    end
    member = redis.call('ZRANGEBYLEX', index, '(' .. its_ns .. '\1', '+', 'LIMIT', 0, 1)[1]
  end
  table.sort(found, function(a, b)
    if a[2] == b[2] then return below(b[1], a[1]) end
    return below(b[2], a[2])
  end)
  for at = 1, math.min(limit, #found) do picked[at] = found[at] end
end

local rows, values, seen = {}, {}, {}
for _, pick in ipairs(picked) do
  local record = checkpoint(pick[1], pick[2])
  if not record and (mode == 'all' or id == '') then damaged('a checkpoint of the index is missing') end
  if record then
    local member = pick[1] .. '\0' .. pick[2]
    local row = {pick[1], pick[2], record, parent_of(pick[1], record)}
    for _, written in ipairs(blocks_of(member)) do
      row[#row + 1] = written[1]
      local path, entries = entries_of(member, written)
      row[#row + 1] = path
      row[#row + 1] = entries
    end
    rows[#rows + 1] = row
    for _, entry in ipairs(part(record, REFS)) do
      local field = field_of(pick[1], entry)
      if field and not seen[field] then
        seen[field] = true
        local _, found = stored_for(pick[1], entry)
        if found then
          values[#values + 1] = field
          values[#values + 1] = found
        end
      end
    end
  end
end
-- A thread that is kept for ever, or for longer, stays so.
local left = ARGV[9] ~= '' and redis.call('PTTL', data) or -1
if left >= 0 and left < tonumber(ARGV[9]) then expire(ARGV[9]) end
return {rows, values, (#picked == limit) and 1 or 0}
