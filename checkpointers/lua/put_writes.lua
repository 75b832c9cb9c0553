-- ARGV: format, token, ttl ms or '', ns, id, task, path, triples of (idx, channel, body).
-- A regular write (idx >= 0) is kept as first written; a special one (idx < 0) is replaced by a later one.
local ttl, ns, id, task, path = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local member = ns .. '\0' .. id
local MOST = 4096
local blocks, mine = blocks_of(member), nil
for _, written in ipairs(blocks) do
  if written[1] == task then mine = written end
end
if not mine then
  mine = {task, path, '', false}
  blocks[#blocks + 1] = mine
end
local order, at_idx = {}, {}
for _, entry in ipairs(write_entries(entries_of(member, mine))) do
  order[#order + 1] = entry[3]
  at_idx[entry[1]] = #order
end
for at = 8, #ARGV, 3 do
  local idx = tonumber(ARGV[at])
  local place = at_idx[idx]
  if not place or idx < 0 then
    if not place then
      place = #order + 1
      at_idx[idx] = place
    end
    order[place] = struct.pack('>i4I2I4', idx, #ARGV[at + 1], #ARGV[at + 2]) .. ARGV[at + 1] .. ARGV[at + 2]
  end
end
mine[2] = path
mine[3] = table.concat(order)
local inside = 0
for _, written in ipairs(blocks) do
  if not written[4] and written ~= mine then inside = inside + #written[3] end
end
-- What is long gets a field of its own, so that many tasks do not copy each other's writes.
if mine[4] or inside + #mine[3] > MOST then
  mine[4] = true
  redis.call('HSET', data, 'w' .. member .. '\0' .. task, mine[3])
end
local parts = {}
for at, written in ipairs(blocks) do
  parts[at] = block(written[1], written[2], written[4] and '' or written[3])
end
redis.call('HSET', data, 'v', ARGV[1], 'w' .. member, table.concat(parts))
expire(ttl)
return 1
