-- KEYS: entries, order (changed or waiting). ARGV: 'newest' | 'soonest', most, or a thread alone. Answers with pairs of
-- thread and entry.
local found = {}
local threads
if #ARGV == 1 then
  threads = {ARGV[1]}
elseif ARGV[1] == 'newest' then
  threads = redis.call('ZREVRANGE', KEYS[2], 0, ARGV[2] - 1)
else
  threads = redis.call('ZRANGE', KEYS[2], 0, ARGV[2] - 1)
end
for _, thread in ipairs(threads) do
  local entry = redis.call('HGET', KEYS[1], thread)
  if entry then
    found[#found + 1] = thread
    found[#found + 1] = entry
  end
end
return found
