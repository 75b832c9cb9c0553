-- KEYS: hash and index of a thread, where they were put aside, and the thread's lease. Puts a thread back. Answers 1, 0 when
-- nothing was put aside, -1 when the thread has begun anew or somebody works on it.
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local fence = redis.call('HGET', KEYS[1], 'f')
local used = redis.call('HLEN', KEYS[1]) > (fence and 1 or 0) or redis.call('EXISTS', KEYS[2]) == 1
if used or redis.call('EXISTS', KEYS[5]) == 1 then return -1 end
redis.call('RENAME', KEYS[3], KEYS[1])
if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('RENAME', KEYS[4], KEYS[2]) end
if fence then redis.call('HSET', KEYS[1], 'f', fence) end
return 1
