-- KEYS[3] is the lease: `token holder`, with an expiry. ARGV: format, action, then
--   acquire  ms, holder, what is there instead of which it may be taken ('' for nothing); answers {token, ''}, or
--            {0, what is there}
--   renew    ms, token holder; answers whether it is still ours
--   release  '', token holder; answers whether it was still ours
--   holder   answers what is there
-- The token is kept in the thread's hash (`f`), where each write of a holder is checked against it. It is the server's
-- time, so that it grows even when the thread was deleted in between.
local lease, action, ms, ours = KEYS[3], ARGV[2], ARGV[3], ARGV[4]
local current = redis.call('GET', lease)
if action == 'holder' then return current end
if action == 'renew' then
  return current == ours and redis.call('PEXPIRE', lease, ms) or 0
end
if action == 'release' then
  if current ~= ours then return 0 end
  if redis.call('EXISTS', index) == 0 and redis.call('HLEN', data) == 1 then redis.call('UNLINK', data) end
  return redis.call('UNLINK', lease)
end
if current and current ~= ARGV[5] then return {0, current} end
local now = redis.call('TIME')
local token = now[1] * 1000000 + now[2]
local last = tonumber(redis.call('HGET', data, 'f') or 0)
if token <= last then token = last + 1 end
local text = string.format('%.0f', token)
redis.call('HSET', data, 'f', text)
redis.call('SET', lease, text .. ' ' .. ours, 'PX', ms)
return {text, ''}
