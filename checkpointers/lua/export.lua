-- ARGV: format. Answers {fields and values, members} of the whole thread, without the token of its lease.
local fields, found = {}, redis.call('HGETALL', data)
for at = 1, #found, 2 do
  if found[at] ~= 'f' then
    fields[#fields + 1] = found[at]
    fields[#fields + 1] = found[at + 1]
  end
end
return {fields, redis.call('ZRANGE', index, 0, -1)}
