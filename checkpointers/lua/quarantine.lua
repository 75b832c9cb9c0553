-- KEYS: hash, index and lease of a thread, and where the first two are put. ARGV: format, token, request. Takes a thread
-- out of sight without reading it; one that was put aside before gives way. Answers whether there was one; a request
-- that is sent again, because its answer was lost, finds its number with what it has put aside.
local data, index, aside = KEYS[1], KEYS[2], KEYS[4]
if redis.call('EXISTS', data) == 0 then
  return redis.pcall('HGET', aside, 'q') == ARGV[3] and 1 or 0
end
redis.call('RENAME', data, aside)
redis.call('UNLINK', KEYS[5])
if redis.call('EXISTS', index) == 1 then redis.call('RENAME', index, KEYS[5]) end
-- What is damaged may be no hash at all.
redis.pcall('HSET', aside, 'q', ARGV[3])
return 1
