-- KEYS: hash and index of a thread, where they were put aside, and the thread's lease. Puts a thread back. Answers 1, 0 when
-- nothing was put aside, -1 when the thread has begun anew or somebody works on it.
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local time = redis.call('TIME')
local deadline = tonumber(string.match(redis.call('GET', KEYS[5]) or '', '^%d+ (%d+)') or 0)
local held = deadline > time[1] * 1000 + math.floor(time[2] / 1000)
if held or redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return -1 end
redis.call('RENAME', KEYS[3], KEYS[1])
if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('RENAME', KEYS[4], KEYS[2]) end
-- What is damaged may be no hash at all.
redis.pcall('HDEL', KEYS[1], 'q')
return 1
