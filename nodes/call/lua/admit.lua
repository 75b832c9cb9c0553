-- Admit a request, refuse it, or put it in line: every check first, then everything that it takes at once.
-- Answers JSON: r = admitted | replay | wait | halted | runaway | retries_spent | hedges_spent | open | resting | spent_out.

-- A request whose answer was lost on the way asks again.
local known = call('GET', key('adm', ask.id))
if known then return answer('admitted', cjson.decode(known).reply) end

if ask.call ~= '' then
  local kept = call('HGET', key('ledger', ask.thread), ask.call)
  if kept then
    local at, text = string.match(kept, '^(%d+):(.*)$')
    if now - tonumber(at) <= limits.ledger_ms then
      if ask.waiting == 1 then leave(ask.ep, ask.model, ask.id) end
      return answer('replay', {answer = text})
    end
  end
end

local function refuse(r, more)
  if ask.waiting == 1 then leave(ask.ep, ask.model, ask.id, more and more.why == 'endpoint') end
  return answer(r, more)
end

local br = health('breaker', ask.ep, ask.model)
local line, lineseen = health('line', ask.ep, ask.model), health('lineseen', ask.ep, ask.model)

-- What really happened at the endpoint.
local function cause(more)
  more.began, more.failed = shares(ask.ep, ask.model)
  more.last = call('HGET', br, 'last') or ''
  return more
end

-- Stand in the line of those who wait until the endpoint answers again.
local function in_line(what, left, lately)
  bury(line, lineseen)
  local turn = ask.turn
  if turn == 0 then turn = call('HINCRBY', br, 'turns', 1) end
  join(line, lineseen, turn, ask.id)
  call('PEXPIRE', br, DAY_MS)
  return refuse('wait', cause({
    why = 'endpoint', what = what, lately = lately, ticket = 0, turn = turn,
    retry_ms = math.min(math.max(left, RAMP_POLL_MS), 1000),
  }))
end

local function held(why, left)
  return refuse('wait', cause({why = why, ticket = 0, turn = 0, retry_ms = left}))
end

-- An endpoint that refused the key or the model. Somebody who has just come tries once: perhaps he has mended it.
local halts = {key('halt', ask.key, ''), key('halt', ask.key, ask.model)}
local halted = {}
for _, halt in ipairs(halts) do
  local found = call('HMGET', halt, 'error', 'until')
  if found[2] then
    if now < tonumber(found[2]) and ask.fresh ~= 1 then return refuse('halted', {error = found[1]}) end
    halted[#halted + 1] = halt
  end
end

-- Velocity of one thread.
local same = nil
if ask.thread ~= '' then
  if ask.prompt ~= '' then
    same = key('same', ask.thread, ask.prompt)
    local nth = call('LINDEX', same, limits.same_call - 1)
    if nth and now - tonumber(nth) < limits.same_ms then
      return refuse('runaway', {what = 'same', limit = limits.same_call})
    end
  end
  if limits.minute >= 0 then
    local slices, oldest, spent = call('HGETALL', key('rate', ask.thread)), math.floor(now / 5000) - 12, 0
    for i = 1, #slices, 2 do
      if tonumber(slices[i]) > oldest then spent = spent + tonumber(slices[i + 1]) end
    end
    if spent > limits.minute then
      return refuse('runaway', {what = 'minute', spent = spent, limit = limits.minute})
    end
  end
end

-- An endpoint that cannot be reached.
local ep = ep_key(ask.ep)
local e = call('HMGET', ep, 'tokens', 'hedges', 'rest', 'down', 'down_until', 'down_wait', 'answered')
local tokens, hedges, rest = num(e[1], limits.retry_reserve), num(e[2], 1000), num(e[3], 0)
local down, down_until = e[4] == '1', num(e[5], 0)
if down and now - down_until >= limits.lately_ms then
  -- Nobody has asked for a while, so nothing is known.
  down = false
  call('HSET', ep, 'down', 0, 'down_until', 0, 'down_wait', 0, 'unconnected', '')
end
if down and in_time(down_until, math.max(limits.reprobe_ms, limits.longest_reprobe_ms)) and ask.fresh ~= 1 then
  local left, lately = down_until - now, is_recent(num(e[7], 0)) and 1 or 0
  if ask.patient == 1 and num(e[7], 0) > 0 and ask.hedge ~= 1 then return in_line('unreachable', left, lately) end
  if lately == 1 then left = math.max(left, limits.longest_reprobe_ms) end
  return refuse('unreachable', {retry_ms = left, lately = lately})
end

-- Circuit breaker: cut off an endpoint that is down, and let those who wait for it go step by step once it is back.
local b = call('HMGET', br, 'open', 'until', 'probe_until', 'rejects')
local open, until_, rejects = b[1] == '1', num(b[2], 0), b[4] == '1'
if open and rejects and now - until_ >= limits.lately_ms then
  -- Nobody has asked for a while, so nothing is known.
  open, rejects = false, false
  call('HSET', br, 'open', 0, 'rejects', 0, 'until', 0, 'backoff', 0, 'probe_until', 0)
end
local room = room_of(ask.ep, ask.model)
if open or room then
  bury(line, lineseen)
  local before = ask.turn > 0 and call('ZCOUNT', line, '-inf', '(' .. int(ask.turn)) or call('ZCARD', line)
  local left, anew = RAMP_POLL_MS, rejects and ask.fresh == 1
  if open then
    local probing = num(b[3], 0) - now
    local longest = math.max(2 * limits.open_ms, limits.reprobe_ms, limits.longest_reprobe_ms)
    left = 0
    if probing > 0 then
      left = math.min(1000, probing)
    elseif in_time(until_, longest) and not anew then
      left = until_ - now
    end
    room = left <= 0 and 1 or 0
  end
  if before >= room and not (open and anew and room == 1) then
    if ask.hedge == 1 then return refuse('hedges_spent') end
    if open and ask.patient ~= 1 then
      return refuse('open', cause({retry_ms = left, rejects = rejects and 1 or 0}))
    end
    return in_line(rejects and 'rejects' or open and 'down' or 'ramp', left, 0)
  end
end
local probes = down or open

-- Retry and hedge budgets. Whoever finds out for all others whether an endpoint works adds nothing to its load.
if ask.retry == 1 and tokens < 1000 and not probes then
  if ask.patient ~= 1 then return refuse('retries_spent') end
  return held('budget', 1000)
end
if ask.hedge == 1 and hedges < 1000 and not down then return refuse('hedges_spent') end

-- An endpoint that asked to be left alone.
if in_time(rest, limits.rest_ms) then return refuse('resting', {retry_ms = rest - now}) end

-- Concurrency: whoever has a ticket goes before whoever comes.
local places = places_of(ask.ep)
if places > 0 then
  local queue, seen = key('queue', ask.ep), key('seen', ask.ep)
  bury(queue, seen)
  local ticket, before = ask.ticket, nil
  if ticket > 0 then before = call('ZCOUNT', queue, '-inf', '(' .. int(ticket)) else before = call('ZCARD', queue) end
  if call('ZCARD', key('slots', ask.ep)) + before >= places then
    if ticket == 0 then ticket = call('HINCRBY', ep, 'tickets', 1) end
    join(queue, seen, ticket, ask.id)
    return answer('wait', {why = 'place', ticket = ticket, turn = ask.turn})
  end
end

-- Throttle: refuse in proportion to how much the endpoint refuses.
if not probes then
  local began, failed = shares(ask.ep, ask.model)
  local odds = (began * 1000 - limits.throttle_ratio * (began - failed)) * DICE
  if began >= LEAST and ask.dice * (began + 1) * 1000 < odds then
    if ask.hedge == 1 then return refuse('hedges_spent') end
    return held('throttle', math.floor((100 + math.floor(900 * failed / began)) * (DICE / 2 + ask.dice) / DICE))
  end
end

-- What the step and the run have left, without calls of theirs whose outcome nobody knows.
if ask.worst > 0 and ask.thread ~= '' and #ask.room > 0 then
  local of_step, of_run = 0, 0
  for _, text in ipairs(call('HVALS', key('lost', ask.thread))) do
    local worst, step = string.match(text, '^(%d+)|[^|]*|(.*)$')
    of_run = of_run + tonumber(worst)
    if step == ask.step then of_step = of_step + tonumber(worst) end
  end
  for _, room in ipairs(ask.room) do
    local unknown = room[1] == 'step' and of_step or of_run
    if ask.worst > room[2] - unknown then
      return refuse('unknown_out', {cap = room[1], left = room[2], unknown = unknown})
    end
  end
end

-- Shared caps.
local caps, named = {}, {}
if ask.worst > 0 and #ask.caps > 0 then
  local date = date_of(now)
  local full = nil
  for _, cap in ipairs(ask.caps) do
    local name, limit = cap[1], cap[2]
    local where = key('cap', name, date)
    local found = call('HMGET', where, 'spent', 'held', 'unknown')
    local spent, held, unknown = num(found[1], 0), num(found[2], 0), num(found[3], 0)
    if ask.worst > limit - spent - unknown then
      return refuse('spent_out', {cap = name, spent = spent, limit = limit, unknown = unknown})
    end
    if ask.worst > limit - spent - unknown - held and not full then full = name end
    caps[#caps + 1] = where
    if not found[2] then named[#named + 1] = name end
  end
  if full then
    if ask.waiting == 1 then leave(ask.ep, ask.model, ask.id) end
    call('ZADD', key('short'), int(now), ask.id)
    call('PEXPIRE', key('short'), DAY_MS)
    return answer('wait', {why = 'money', ticket = ask.ticket, turn = 0, cap = full})
  end
end

-- Timeout.
local t = call('HMGET', key('timing', ask.lat), 'p99', 'p95', 'count', 'lift')
local learned = num(t[3], 0) >= limits.samples
local timeout = math.min(ask.timeout, ask.ceiling)
if learned then
  local wanted = math.max(limits.floor_ms, math.floor((3 * num(t[1], 0) + 1) / 2), num(t[4], 0))
  timeout = math.min(wanted, ask.ceiling)
end

-- Nothing speaks against it: take everything.
if ask.waiting == 1 then
  call('ZREM', key('short'), ask.id)
  call('ZREM', key('seen', ask.ep), ask.id)
  call('ZREM', key('queue', ask.ep), ask.id)
  call('ZREM', lineseen, ask.id)
  call('ZREM', line, ask.id)
end
for _, halt in ipairs(halted) do call('HSET', halt, 'until', int(now + math.max(limits.halt_ms, timeout))) end
if same then
  call('LPUSH', same, int(now))
  call('LTRIM', same, 0, limits.same_call - 1)
  call('PEXPIRE', same, int(limits.same_ms + 1000))
end
if down then
  -- No lease: one that hangs is followed by the next at the same pace.
  call('HSET', ep, 'down_until', int(now + num(e[6], 0)))
  notes[#notes + 1] = {e = 'reach', before = 'open', after = 'half_open', why = 'probe'}
elseif ask.hedge == 1 then
  call('HSET', ep, 'hedges', int(hedges - 1000))
else
  call('HSET', ep, 'hedges', int(math.min(hedges + limits.hedge_deposit, 10000)))
end
if ask.retry == 1 and not probes then
  tokens = tokens - 1000
  call('HSET', ep, 'tokens', int(tokens))
  if tokens < 1000 then notes[#notes + 1] = {e = 'retries', empty = 1} end
end
call('PEXPIRE', ep, 30 * DAY_MS)
local seq = call('HINCRBY', br, 'seq', 1)
local flight, share = health('flight', ask.ep, ask.model), health('share', ask.ep, ask.model)
call('ZADD', flight, int(seq), ask.id)
call('HINCRBY', share, 'b' .. int(slice(now)), 1)
if open then
  call('HSET', br, 'probe', int(seq), 'probe_until', int(now + timeout + limits.probe_ms))
  notes[#notes + 1] = {e = 'breaker', before = 'open', after = 'half_open', why = 'probe'}
end
for _, k in ipairs({br, flight, share}) do call('PEXPIRE', k, DAY_MS) end
local expires = now + timeout + limits.lease_ms
local number = call('HINCRBY', ep, 'begun', 1)
call('ZADD', key('slots', ask.ep), int(number), ask.id)
call('PEXPIRE', key('slots', ask.ep), DAY_MS)
for _, where in ipairs(caps) do
  call('HINCRBY', where, 'held', int(ask.worst))
  call('PEXPIRE', where, 3 * DAY_MS)
end
if #named > 0 then
  call('SADD', key('caps', date_of(now)), unpack(named))
  call('PEXPIRE', key('caps', date_of(now)), 3 * DAY_MS)
end
local reply = {timeout = timeout, p95 = learned and num(t[2], 0) or 0, probe = probes and 1 or 0}
call('ZADD', key('leases'), int(expires), ask.id)
keep({
  id = ask.id, ep = ask.ep, model = ask.model, key = ask.key, thread = ask.thread, call = ask.call, step = ask.step,
  lat = ask.lat, item = ask.item, prompt = ask.prompt, worst = ask.worst, retry = ask.retry, caps = caps, at = now,
  timeout = timeout, seq = seq, dice = ask.dice, reply = reply,
}, timeout + limits.lease_ms + DAY_MS)
return answer('admitted', {timeout = reply.timeout, p95 = reply.p95, probe = reply.probe})
