-- ARGV: format, ttl ms or '', ns, id, task, triples of (idx, channel, body).
-- A regular write (idx >= 0) is kept as first written; a special one (idx < 0) is replaced by a later one.
local ttl, ns, id, task = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local member = ns .. '\0' .. id
local field = 'w' .. member .. '\0' .. task
local old = redis.call('HGET', data, field)
local order, at_idx = {}, {}
if old then
  for _, entry in ipairs(write_entries(old)) do
    order[#order + 1] = entry[3]
    at_idx[entry[1]] = #order
  end
else
  local listed = redis.call('HGET', data, 'p' .. member) or ''
  redis.call('HSET', data, 'v', ARGV[1], 'p' .. member, listed .. frame(task))
end
for at = 6, #ARGV, 3 do
  local idx = tonumber(ARGV[at])
  local place = at_idx[idx]
  if not place or idx < 0 then
    if not place then
      place = #order + 1
      at_idx[idx] = place
    end
    order[place] = struct.pack('>i4I4I4', idx, #ARGV[at + 1], #ARGV[at + 2]) .. ARGV[at + 1] .. ARGV[at + 2]
  end
end
redis.call('HSET', data, field, table.concat(order))
expire(ttl)
return 1
