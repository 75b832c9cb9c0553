-- ARGV: format, ms or '' to keep the thread for ever. Answers whether the thread exists.
local there = redis.call('EXISTS', data)
if ARGV[2] == '' then
  redis.call('PERSIST', data)
  redis.call('PERSIST', index)
else
  expire(ARGV[2])
end
return there
