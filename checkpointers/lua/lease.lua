-- KEYS[1]: `token deadline request holder` of who was given the lease last. ARGV: action, then
--   acquire  ms, request, holder, the holder from whom it may be taken ('' for nobody); answers {token, '', 1 where its
--            last holder did not give it back}, or {'0', the holder, 0}
--   renew    ms, token; answers whether it is still ours, which it is after its time too while nobody else was given it
--   release  token; answers whether nobody else was given it since
--   holder   answers with the holder, '' for none
-- It is known for longer than it is held (deadline, ms), so that writes of a former holder can be told from those of the
-- last one (fence.lua); it depends on no other key of the thread, which may be deleted or expire meanwhile. The token is
-- the server's time, so that it grows even after that. A request is known by its number: sent again because its answer
-- was lost, it gets the same answer.
local KNOWN_MS, GIVEN_BACK_MS = 86400000, 600000
local lease, action, ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local pattern = '^(%d+) (%d+) (%S*) (.*)$'
local token, deadline, request, holder = string.match(redis.call('GET', lease) or '', pattern)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = token and tonumber(deadline) > now

local function keep(until_ms, known_ms)
  local text = table.concat({token, string.format('%.0f', until_ms), request, holder}, ' ')
  redis.call('SET', lease, text, 'PX', string.format('%.0f', known_ms))
end

if action == 'holder' then return held and holder or '' end
if action == 'renew' then
  if token ~= ARGV[3] or deadline == '0' then return 0 end
  keep(now + ms, ms + KNOWN_MS)
  return 1
end
if action == 'release' then
  if token ~= ARGV[2] then return 0 end
  keep(0, GIVEN_BACK_MS)
  return 1
end
local again = token and request == ARGV[3]
if held and not again and (ARGV[5] == '' or holder ~= ARGV[5]) then return {'0', holder, 0} end
local left = token and not again and deadline ~= '0' and 1 or 0
if not again then
  token = string.format('%.0f', math.max(time[1] * 1000000 + time[2], (tonumber(token) or 0) + 1))
end
request, holder = ARGV[3], ARGV[4]
keep(now + ms, ms + KNOWN_MS)
return {token, '', left}
