-- ARGV: format, token, ms or '' to keep the thread for ever. Answers whether the thread exists.
local there = redis.call('EXISTS', data)
if ARGV[3] == '' then
  redis.call('PERSIST', data)
  redis.call('PERSIST', index)
else
  expire(ARGV[3])
end
return there
