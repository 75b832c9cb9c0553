-- ARGV: format, token, ttl ms or '', count n, n pairs of (field, value), members. Writes a copied thread into an empty
-- one, or into one that a first try of the same copy filled.
local ttl, count = ARGV[3], tonumber(ARGV[4])
local there = redis.call('HLEN', data)
if there > 0 or redis.call('EXISTS', index) == 1 then
  local same = there == count
  for at = 5, 3 + 2 * count, 2 do
    if not same then break end
    same = redis.call('HGET', data, ARGV[at]) == ARGV[at + 1]
  end
  if not same then return redis.error_reply('SFCONFLICT thread') end
end
local fields, members = {}, {}
for at = 5, 4 + 2 * count do fields[#fields + 1] = ARGV[at] end
for at = 5 + 2 * count, #ARGV do
  members[#members + 1] = '0'
  members[#members + 1] = ARGV[at]
end
in_pieces('HSET', data, fields, 4000)
in_pieces('ZADD', index, members, 4000)
expire(ttl)
return 1
