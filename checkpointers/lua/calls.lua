-- ARGV: format, the last namespace of the page before or '', most of a page. Answers with the namespaces of subgraphs'
-- calls, which have the id of a task in their names, in order: {ns, id, body, metadata} of the latest checkpoint of each.
local BODY, METADATA = 5, 6
local most, rows = tonumber(ARGV[3]), {}
local after = ARGV[2] == '' and '-' or '(' .. ARGV[2] .. '\1'
local member = redis.call('ZRANGEBYLEX', index, after, '+', 'LIMIT', 0, 1)[1]
while member and #rows < most do
  local ns = split(member)
  if string.find(ns, ':', 1, true) then
    local id = latest(ns)
    local record = checkpoint(ns, id) or damaged('a checkpoint of the index is missing')
    rows[#rows + 1] = {ns, id, frame_of(record, BODY), frame_of(record, METADATA)}
  end
  member = redis.call('ZRANGEBYLEX', index, '(' .. ns .. '\1', '+', 'LIMIT', 0, 1)[1]
end
return rows
