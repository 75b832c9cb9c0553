-- KEYS: entries, changed. ARGV: 'before', time, most: those that changed at a time (in microseconds, `(` before it leaves
-- that one out) or earlier, the last first; or 'any', number from 0 to 1, most: neighbours by age from a place that the
-- number names. Answers {pairs of thread and entry, the time of each as the index has it, number of threads that were
-- looked at}, which may be more than those with an entry.
local kind, at, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local threads
if kind == 'before' then
  threads = redis.call('ZREVRANGEBYSCORE', KEYS[2], at, '-inf', 'WITHSCORES', 'LIMIT', 0, most)
else
  local free = math.max(0, redis.call('ZCARD', KEYS[2]) - most)
  local first = math.floor(tonumber(at) * (free + 1))
  threads = redis.call('ZRANGE', KEYS[2], first, first + most - 1, 'WITHSCORES')
end
local found, times = {}, {}
for place = 1, #threads, 2 do
  local thread = threads[place]
  local entry = redis.call('HGET', KEYS[1], thread)
  if entry then
    found[#found + 1] = thread
    found[#found + 1] = entry
    times[#times + 1] = threads[place + 1]
  else
    redis.call('ZREM', KEYS[2], thread)
  end
end
return {found, times, #threads / 2}
