-- KEYS: hash and index of a thread, and where they are put. Takes a thread out of sight without reading it; one that was
-- put aside before gives way. Answers whether there was one.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RENAME', KEYS[1], KEYS[3])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[4]) end
return 1
