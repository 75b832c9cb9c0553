-- Shared by every script that changes a thread. KEYS[3] is the thread's lease (see lease.lua), ARGV[2] the token of
-- the writer, '' for one that took no lease. A token has to be that of whom the lease was given to last: that its time
-- is over does no harm while nobody else has taken it. When nothing is known of the lease any more nobody can say, so
-- that is refused too.
local function superseded()
  if ARGV[2] == '' then return nil end
  local token = string.match(redis.call('GET', KEYS[3]) or '', '^%d*')
  return token ~= ARGV[2] and redis.error_reply('SFFENCE ' .. token) or nil
end

