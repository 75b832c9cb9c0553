-- ARGV: the old format, bytes of all fields and values that were read, the new format, pairs of (field, value). Puts the
-- new form of a thread in the place of the old one. Answers 0 when the old one has changed since it was read, else 1.
local size = 0
for _, part in ipairs(redis.call('HGETALL', data)) do size = size + #part end
if size ~= tonumber(ARGV[2]) then return 0 end
local left = redis.call('PTTL', data)
redis.call('UNLINK', data)
local fields = {'v', ARGV[3]}
for at = 4, #ARGV do fields[#fields + 1] = ARGV[at] end
in_pieces('HSET', data, fields, 4000)
if left > 0 then redis.call('PEXPIRE', data, left) end
return 1
