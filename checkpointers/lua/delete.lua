-- ARGV: format, fencing token. Deletes a thread, and keeps the token: what the holder writes next makes it anew.
local refused = superseded(ARGV[2])
if refused then return refused end
redis.call('UNLINK', data, index)
redis.call('HSET', data, 'f', ARGV[2])
return 1
