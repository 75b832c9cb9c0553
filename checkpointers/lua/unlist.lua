-- KEYS: entries, changed, waiting. ARGV: thread, time of its last change in microseconds. Removes the entry of a thread
-- that is gone; one that has changed since has come back and stays. One that is damaged has the time 0. Answers whether
-- it was removed.
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored or (entry_of(stored) or {t = '0'}).t ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
