-- What of each cap of a day is spent, reserved and unknown; and, for the caps that are named, what the unknown did cost.
-- Answers JSON: r = money, date, caps = list of {name, spent, held, unknown, calls, since}.

expire(10000)
local date = ask.date ~= '' and ask.date or date_of(now)

for name, cost in pairs(ask.settle) do
  local cap = key('cap', name, date)
  for _, id in ipairs(call('ZRANGE', unknown_of(cap), 0, -1)) do
    local text = call('GET', key('adm', id))
    if text then call('HDEL', key('lost', cjson.decode(text).thread), id) end
  end
  call('DEL', unknown_of(cap))
  call('HINCRBY', cap, 'spent', int(cost))
  call('HSET', cap, 'unknown', 0)
  call('PEXPIRE', cap, 3 * DAY_MS)
  for _, w in ipairs(call('ZRANGE', key('short'), 0, 99)) do wake[#wake + 1] = w end
end

local names, found = call('SMEMBERS', key('caps', date)), {}
table.sort(names)
for _, name in ipairs(names) do
  local cap = key('cap', name, date)
  local h = call('HMGET', cap, 'spent', 'held', 'unknown')
  local first = call('ZRANGE', unknown_of(cap), 0, 0, 'WITHSCORES')
  found[#found + 1] = {
    name, num(h[1], 0), num(h[2], 0), num(h[3], 0), call('ZCARD', unknown_of(cap)), num(first[2], 0),
  }
end
return answer('money', {date = date, caps = found})
