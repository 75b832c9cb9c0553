-- ARGV: format, token, ttl ms or '', ns, id, task, path, triples of (idx, channel, body).
-- A regular write (idx >= 0) is kept as first written; a special one (idx < 0) is replaced by a later one.
local ttl, ns, id, task, path = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local member = ns .. '\0' .. id
local first, own = 'w' .. member, 'w' .. member .. '\0' .. task
-- Bytes of all that is written again whenever a task is added.
local MOST = 4096
local blocks, more, mine, stored, before = {}, 0, nil, nil, ''
local listed = redis.call('HGET', data, first)
if listed then more = add_blocks(blocks, listed) end
for _, written in ipairs(blocks) do
  if written[1] == task then mine = written end
end
if mine then
  local _, entries = entries_of(member, mine)
  before = entries
elseif more > 0 then
  stored = redis.call('HGET', data, own)
  if stored then
    local _, entries = own_of(stored)
    before = entries
  end
end
local order, at_idx = {}, {}
for _, entry in ipairs(write_entries(before)) do
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
local entries = table.concat(order)
local fields = {'v', ARGV[1]}

local function set(field, value)
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end

-- Many tasks do not copy each other's writes, nor each other's names: a full field is left as it is.
local late = not mine and (stored or listed and #listed >= MOST)
if late then
  set(own, struct.pack('>I2', #path) .. path .. entries)
  if not stored then
    local last = more > 0 and redis.call('HGET', data, more_blocks(member, more)) or ''
    if more == 0 or #last >= MOST then more, last = more + 1, '' end
    set(more_blocks(member, more), last .. block(task, '', ''))
    if last == '' then blocks[#blocks + 1] = {'\0' .. struct.pack('>I4', more), '', '', true} end
  end
else
  if not mine then
    mine = {task, '', '', false}
    blocks[#blocks + 1] = mine
  end
  local inside = 0
  for _, written in ipairs(blocks) do inside = inside + #written[3] end
  mine[4] = mine[4] or inside - #mine[3] + #entries > MOST
  mine[2], mine[3] = path, entries
  if mine[4] then
    set(own, struct.pack('>I2', #path) .. path .. entries)
    mine[2], mine[3] = '', ''
  end
  if more > 0 then blocks[#blocks + 1] = {'\0' .. struct.pack('>I4', more), '', '', true} end
end
if not late or string.byte(blocks[#blocks][1]) == 0 then
  local parts = {}
  for at, written in ipairs(blocks) do parts[at] = block(written[1], written[2], written[3]) end
  set(first, table.concat(parts))
end
redis.call('HSET', data, unpack(fields))
expire(ttl)
return 1
