-- Settle an admission: money, places, and what is learned from how the request ended. A second time does nothing.
-- Answers JSON: r = settled | late (its lease had expired) | unknown (it was settled before).

local text = call('GET', key('adm', ask.id))
if not text then return answer('unknown') end
local record = record_of(text)
record.id = ask.id
call('DEL', key('adm', ask.id))
call('ZREM', key('leases'), ask.id)
local outcome, expired = ask.outcome, record.expired == 1

for _, cap in ipairs(record.caps) do
  if expired then
    -- Unless an operator has settled it meanwhile.
    if call('ZREM', unknown_of(cap), record.id) == 1 then
      call('HINCRBY', cap, 'unknown', int(-record.worst))
      call('HINCRBY', cap, 'spent', int(ask.cost))
    end
  else
    call('HINCRBY', cap, 'held', int(-record.worst))
    call('HINCRBY', cap, 'spent', int(ask.cost))
  end
end

if expired and record.thread ~= '' then call('HDEL', key('lost', record.thread), record.id) end

-- The same call was made before by a process that died, and this one tells what it costs: the other one may have been
-- billed as well, but for no more than the same prompt and the same limit cost now.
if outcome == 'ok' and record.call ~= '' then
  for _, id in ipairs(call('HKEYS', key('lost', record.thread))) do
    local before = call('GET', key('adm', id))
    local other = before and cjson.decode(before)
    if other and other.call == record.call and not other.priced and ask.cost < other.worst then
      for _, cap in ipairs(other.caps) do
        if call('ZSCORE', unknown_of(cap), id) then call('HINCRBY', cap, 'unknown', int(ask.cost - other.worst)) end
      end
      other.worst, other.priced = ask.cost, 1
      keep(other, DAY_MS)
      write_lost(other)
    end
  end
end

if record.thread ~= '' and ask.cost > 0 then
  local rate, index = key('rate', record.thread), math.floor(now / 5000)
  call('HINCRBY', rate, int(index), int(ask.cost))
  for _, old in ipairs(call('HKEYS', rate)) do
    if tonumber(old) <= index - 12 then call('HDEL', rate, old) end
  end
  call('PEXPIRE', rate, 65000)
end

-- A prompt that got no answer does not count as repeated: to ask again is no circle then.
if record.thread ~= '' and (record.prompt or '') ~= '' and
  (outcome == 'transient' or outcome == 'timeout' or outcome == 'throttled') then
  call('LREM', key('same', record.thread, record.prompt), -1, int(record.at))
end

if outcome == 'ok' and record.call ~= '' and ask.answer ~= '' then
  local ledger = key('ledger', record.thread)
  call('HSET', ledger, record.call, int(now) .. ':' .. ask.answer)
  call('PEXPIRE', ledger, int(limits.ledger_ms + 1000))
end

-- Halts.
local of_key, of_model = key('halt', record.key, ''), key('halt', record.key, record.model)
if ask.halt ~= '' then
  local name = ask.halt == 'key' and of_key or of_model
  call('HSET', name, 'error', ask.error, 'until', int(now + limits.halt_ms))
  call('PEXPIRE', name, DAY_MS)
end
-- An answer about the model proves the key.
if ask.halt == 'model' or outcome == 'ok' then call('DEL', of_key) end
if outcome == 'ok' then call('DEL', of_model) end

if expired then return answer('late') end

local ep = ep_key(record.ep)
local br, share = health('breaker', record.ep, record.model), health('share', record.ep, record.model)
local flight, row = health('flight', record.ep, record.model), health('row', record.ep, record.model)

-- Fill the retry budget up to what it begins with.
local function refill()
  call('HSET', ep, 'tokens', int(math.max(get(ep, 'tokens', limits.retry_reserve), limits.retry_reserve)))
end

-- Let requests through step by step: those before are old news.
local function begin_anew()
  call('HSET', br, 'since', int(get(br, 'seq', 0)), 'closed_at', int(now), 'recovered', 0)
  call('DEL', share)
end

-- Whether the endpoint can be reached. A failure counts once every request that was under way when it came back has
-- come back, too: failed connections take milliseconds, answers take seconds.
local reach = call('HMGET', ep, 'begun', 'down', 'down_wait', 'unconnected', 'answered')
local begun, down = num(reach[1], 0), reach[2] == '1'
local oldest, under_way = nil, call('ZRANGE', key('slots', record.ep), 0, 1, 'WITHSCORES')
for i = 1, #under_way, 2 do
  if under_way[i] ~= record.id and not oldest then oldest = tonumber(under_way[i + 1]) end
end
local function older_than(row, first)
  local count = 0
  for number in string.gmatch(row, '(%d+)[^,]*') do
    if not first or tonumber(number) < first then count = count + 1 end
  end
  return count
end
local connected = ask.connected == 1
if not connected then
  if down then
    if record.reply.probe == 1 then
      local wait = math.min(num(reach[3], 0) * 2, limits.longest_reprobe_ms)
      call('HSET', ep, 'down_wait', int(wait), 'down_until', int(now + wait))
      notes[#notes + 1] = {e = 'reach', before = 'half_open', after = 'open', why = 'probe failed'}
    end
  else
    local most = math.max(limits.lost_calls, limits.unreachable_calls)
    local needed = is_recent(num(reach[5], 0)) and most or limits.unreachable_calls
    local numbers = {begun}
    for number in string.gmatch(reach[4] or '', '%d+') do numbers[#numbers + 1] = tonumber(number) end
    table.sort(numbers)
    local row = {}
    for i = 1, math.min(#numbers, most) do row[i] = int(numbers[i]) end
    row = table.concat(row, ',')
    call('HSET', ep, 'unconnected', row)
    if older_than(row, oldest) >= needed then
      call('HSET', ep, 'down', 1, 'down_wait', int(limits.reprobe_ms), 'down_until', int(now + limits.reprobe_ms))
      notes[#notes + 1] = {e = 'reach', before = 'closed', after = 'open', why = 'unreachable'}
    end
  end
elseif outcome ~= 'timeout' and outcome ~= 'cancelled' then
  -- A timeout, as a cancellation, may have come before a connection did or after.
  if down then
    call('HSET', ep, 'down', 0, 'down_until', 0, 'down_wait', 0)
    refill()
    if call('HGET', br, 'open') ~= '1' then begin_anew() end
    notes[#notes + 1] = {e = 'reach', before = 'half_open', after = 'closed', why = 'answered'}
  end
  call('HSET', ep, 'answered', int(now), 'unconnected', '')
end

-- Throttle and circuit breaker.
local accepting = {ok = 1, invalid_output = 1, truncated = 1, refused = 1, gate_failed = 1}
local failing = outcome == 'transient' or outcome == 'timeout'
local alive = connected and (accepting[outcome] or outcome == 'permanent')
local b = call('HMGET', br, 'open', 'probe', 'seq', 'accepted', 'since', 'rejects', 'backoff')
local open, accepted, since, rejecting = b[1] == '1', num(b[4], 0), num(b[5], 0), b[6] == '1'
local probing = open and record.seq == num(b[2], 0)
local function note(before, after, why) notes[#notes + 1] = {e = 'breaker', before = before, after = after, why = why} end
local function wait_for(every) return math.floor(every * (DICE / 2 + record.dice) / DICE) end

-- The failures in a row before the first request that is under way.
local function breaks()
  local first = call('ZRANGEBYSCORE', flight, '(' .. int(accepted), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return call('ZCOUNT', row, '(' .. int(accepted), first[2] and '(' .. first[2] or '+inf') >= limits.breaker_failures
end

-- Rejected requests count against an endpoint when they are about different items and none was accepted in between.
local function rejects_everything()
  if outcome ~= 'permanent' or ask.halt ~= '' or record.seq <= since then return false end
  local found = call('HMGET', br, 'rejected', 'accepted_at')
  local entries, count, known = found[1] or '', 0, record.item == '' or record.prompt == ''
  for item, prompt in string.gmatch(entries, '%d+:([^:,]*):([^:,]*)') do
    count = count + 1
    if item == record.item or prompt == record.prompt then known = true end
  end
  local most = math.max(limits.rejected_items, limits.rejected_items_lately)
  if not known and count < most then
    entries = (entries == '' and '' or entries .. ',') .. int(begun) .. ':' .. record.item .. ':' .. record.prompt
    call('HSET', br, 'rejected', entries)
  end
  return older_than(entries, oldest) >= (is_recent(num(found[2], 0)) and most or limits.rejected_items)
end

local function open_breaker(wait, why)
  local all = why == 'rejects everything'
  call('HSET', br, 'open', 1, 'probe_until', 0, 'until', int(now + wait), 'rejects', all and 1 or 0,
    'backoff', int(all and wait or 0), 'rejected', '')
  note('closed', 'open', why)
end

if alive and accepting[outcome] then call('HSET', br, 'accepted_at', int(now), 'rejected', '') end
if alive and not (outcome == 'permanent' and rejecting) then
  call('ZREM', flight, ask.id)
  local seq, closes = record.seq, open and (record.seq > accepted or rejecting)
  if closes then
    seq = num(b[3], 0)
    call('HSET', br, 'open', 0, 'until', 0, 'probe_until', 0, 'last', '', 'rejects', 0, 'backoff', 0)
    begin_anew()
  elseif seq > since and room_of(record.ep, record.model) then
    call('HINCRBY', br, 'recovered', 1)
  end
  if seq > accepted then
    call('HSET', br, 'accepted', int(seq))
    call('ZREMRANGEBYSCORE', row, '-inf', int(seq))
  end
  if closes then
    refill()
    note(probing and 'half_open' or 'open', 'closed', 'a request was answered')
  elseif not open and rejects_everything() then
    open_breaker(limits.reprobe_ms, 'rejects everything')
  end
elseif alive or (connected and failing) then
  if not failing then
    forget(record)
  else
    call('ZREM', flight, ask.id)
    if record.seq > since then
      local index = slice(record.at)
      if index <= slice(now) - SLICES then
        -- It took longer than the throttle looks back: the news count from now on.
        index = slice(now)
        call('HINCRBY', share, 'b' .. int(index), 1)
      end
      call('HINCRBY', share, 'f' .. int(index), 1)
      call('HSET', br, 'last', ask.error)
      if record.seq > accepted then
        call('ZADD', row, int(record.seq), int(record.seq))
        if call('ZCARD', row) > 4 * limits.breaker_failures then call('ZREMRANGEBYRANK', row, -1, -1) end
      end
    end
  end
  if probing then
    local backoff, wait = num(b[7], 0), wait_for(limits.open_ms)
    if rejecting then
      backoff = math.min(backoff * 2, limits.longest_reprobe_ms)
      wait = backoff
    end
    call('HSET', br, 'probe_until', 0, 'backoff', int(backoff), 'until', int(now + wait))
    note('half_open', 'open', 'the probe failed')
  elseif not open and breaks() then
    open_breaker(wait_for(math.floor(limits.open_ms / 4)), 'nothing was accepted')
  end
else
  forget(record)
  if probing then call('HSET', br, 'probe_until', 0) end
end
for _, k in ipairs({br, share, flight, row}) do call('PEXPIRE', k, DAY_MS) end
wake_parked(record.ep, record.model)

-- Retry budget.
if outcome == 'ok' then
  local before = get(ep, 'tokens', limits.retry_reserve)
  local after = math.min(before + limits.retry_deposit, math.max(limits.retry_max, before))
  if after ~= before then call('HSET', ep, 'tokens', int(after)) end
  if before < 1000 and after >= 1000 then notes[#notes + 1] = {e = 'retries', empty = 0} end
end

-- Rest, and the limit that adapts.
if outcome == 'throttled' and ask.retry_ms > 0 then
  local rest = now + math.min(ask.retry_ms, limits.rest_ms)
  if rest > get(ep, 'rest', 0) then call('HSET', ep, 'rest', int(rest)) end
end
if limits.auto == 1 then
  local found = call('HMGET', ep, 'limit', 'oks', 'cut_at')
  local before, oks, cut_at = num(found[1], limits.concurrency_start), num(found[2], 0), num(found[3], -1)
  local after = before
  if outcome == 'ok' then
    oks = oks + 1
    if oks >= math.floor(before / 1000) then
      oks, after = 0, math.min(before + 1000, limits.concurrency_max)
    end
  elseif (outcome == 'throttled' or outcome == 'timeout') and record.at > cut_at then
    -- Requests that were under way at the last cut tell nothing about the limit since.
    oks, cut_at, after = 0, now, math.max(math.floor(before * 9 / 10), 1000)
  end
  call('HSET', ep, 'limit', int(after), 'oks', int(oks), 'cut_at', int(cut_at))
  local was, is = math.floor(before / 1000), math.floor(after / 1000)
  if was ~= is then notes[#notes + 1] = {e = 'limit', before = was, after = is} end
end
call('PEXPIRE', ep, 30 * DAY_MS)

-- Latency: a call that timed out counts as its timeout, or only the fast ones would be left.
local late, lost = outcome == 'timeout', ask.lost == 1
if late or outcome == 'ok' or lost then
  local timing, epoch = key('timing', record.lat), math.floor(now / 600000)
  local t = call('HMGET', timing, 'p99', 'count', 'lift', 'at')
  local p99, count, lift = num(t[1], 0), num(t[2], 0), num(t[3], 0)
  local learned = count >= limits.samples
  local function usual() return math.max(limits.floor_ms, math.floor((3 * p99 + 1) / 2)) end
  local latency = late and record.timeout or ask.latency
  local bucket = math.max(0, math.ceil(math.log(math.max(1, latency)) / math.log(1.04)))
  local current = key('latency', record.lat, int(epoch))
  call('HINCRBY', current, int(bucket), 1)
  call('PEXPIRE', current, 1300000)
  if learned and late then
    if record.timeout >= math.max(usual(), lift) then lift = math.min(record.timeout * 2, 3600000) end
  elseif learned and outcome == 'ok' and latency <= usual() then
    lift = math.floor(lift / 2)
  end
  if now - num(t[4], -1000000) >= 1000 then
    local counts, total = {}, 0
    for _, window_key in ipairs({current, key('latency', record.lat, int(epoch - 1))}) do
      local found = call('HGETALL', window_key)
      for i = 1, #found, 2 do
        local index, n = tonumber(found[i]), tonumber(found[i + 1])
        counts[index] = (counts[index] or 0) + n
        total = total + n
      end
    end
    local order = {}
    for index in pairs(counts) do order[#order + 1] = index end
    table.sort(order)
    local function percentile(percent)
      local rank, seen = math.floor((total * percent + 99) / 100), 0
      for _, index in ipairs(order) do
        seen = seen + counts[index]
        if seen >= rank then return math.floor(2 * 1.04 ^ index / 2.04 + 0.5) end
      end
      return 0
    end
    p99 = percentile(99)
    call('HSET', timing, 'p99', int(p99), 'p95', int(percentile(95)), 'count', int(total), 'at', int(now))
  end
  if lift <= usual() then lift = 0 end
  call('HSET', timing, 'lift', int(lift))
  call('PEXPIRE', timing, DAY_MS)
end

free(record)
return answer('settled')
