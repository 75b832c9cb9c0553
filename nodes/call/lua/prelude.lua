-- Shared by all scripts. KEYS[1] is the guard's base name, whose hash tag puts all its keys into one slot of a cluster.
-- ARGV[1] is the time in milliseconds, empty for the server's; ARGV[2] what is asked, as JSON.
-- nodes/call/memory_*.py is the twin: a rule that changes here changes there.
local base = KEYS[1]
local call = redis.call
local ask = cjson.decode(ARGV[2])
local limits = ask.limits
local now
if ARGV[1] == '' then
  local t = call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
else
  now = tonumber(ARGV[1])
end
local DAY_MS, WAITER_MS = 86400000, 3000
local SLICE_MS, SLICES, LEAST, DICE = 5000, 6, 30, 1000000
local RAMP_START, RAMP_STEP, RAMP_MS, RAMP_POLL_MS = 5, 2, 20000, 200
local notes, wake = {}, {}

local function int(x) return string.format('%.0f', x) end
local function key(...) return base .. ':' .. table.concat({...}, ':') end
local function num(x, default) return x and tonumber(x) or default end
local function get(hash, field, default) return num(call('HGET', hash, field), default) end

local function answer(r, more)
  local told = more or {}
  told.r, told.now = r, now
  if #wake > 0 then
    told.wake = wake
    call('PUBLISH', key('bell'), table.concat(wake, ' '))
  end
  if #notes > 0 then told.notes = notes end
  return cjson.encode(told)
end

-- Whether a wait still lasts; one that is longer than any may be is of a time before the server's clock was set back.
local function in_time(until_, longest) return now < until_ and until_ - now <= longest end

local function within(at, ms) return at > 0 and at <= now and now - at < ms end

local function is_recent(at) return within(at, limits.lately_ms) end

local function ep_key(ep) return key('ep', ep) end

local function places_of(ep)
  if limits.auto == 1 then
    return math.floor(get(ep_key(ep), 'limit', limits.concurrency_start) / 1000)
  end
  return limits.concurrency
end

local function wake_line(ep)
  if call('EXISTS', key('queue', ep)) == 0 then return end
  local free = places_of(ep) - call('ZCARD', key('slots', ep))
  if free > 0 then
    for _, w in ipairs(call('ZRANGE', key('queue', ep), 0, free - 1)) do wake[#wake + 1] = w end
  end
end

local function free(record)
  call('ZREM', key('slots', record.ep), record.id)
  wake_line(record.ep)
  if #record.caps > 0 then
    call('ZREMRANGEBYSCORE', key('short'), '-inf', '(' .. int(now - WAITER_MS))
    for _, w in ipairs(call('ZRANGE', key('short'), 0, 99)) do wake[#wake + 1] = w end
  end
end

local function keep(record, ms)
  call('SET', key('adm', record.id), cjson.encode(record), 'PX', int(ms))
end

-- Throttle and breaker of one model at one endpoint. The hash holds open, until, probe_until, probe, seq, accepted,
-- since, last, rejects, backoff, rejected and accepted_at; `share` counts requests by the slice in which they began,
-- `flight` and `row` hold their numbers, `line` those who wait until it answers again.
local function health(kind, ep, model) return key(kind, ep .. '|' .. model) end

local function slice(ms) return math.floor(ms / SLICE_MS) end

local function shares(ep, model)
  local share, current = health('share', ep, model), slice(now)
  local all, began, failed = call('HGETALL', share), 0, 0
  for i = 1, #all, 2 do
    local what, index = string.match(all[i], '^(%a)(%d+)$')
    -- A slice that is still to come is of a time before the clock was set back.
    if tonumber(index) <= current - SLICES or tonumber(index) > current then
      call('HDEL', share, all[i])
    elseif what == 'b' then
      began = began + tonumber(all[i + 1])
    else
      failed = failed + tonumber(all[i + 1])
    end
  end
  return began, failed
end

-- How many more requests may begin, nil for no bound: after an outage there is one for a while.
local function room_of(ep, model)
  local b = call('HMGET', health('breaker', ep, model), 'open', 'since', 'closed_at', 'recovered')
  local since = num(b[2], 0)
  if b[1] == '1' or not within(num(b[3], 0), RAMP_MS) then return nil end
  local under_way = call('ZCOUNT', health('flight', ep, model), '(' .. int(since), '+inf')
  return RAMP_START + RAMP_STEP * num(b[4], 0) - under_way
end

local function wake_parked(ep, model)
  local line = health('line', ep, model)
  if call('HGET', ep_key(ep), 'down') == '1' then return end
  if call('EXISTS', line) == 0 or call('HGET', health('breaker', ep, model), 'open') == '1' then return end
  local room = room_of(ep, model)
  if room == nil then room = call('ZCARD', line) end
  if room > 0 then
    for _, w in ipairs(call('ZRANGE', line, 0, room - 1)) do wake[#wake + 1] = w end
  end
end

local function bury(queue, seen)
  for _, w in ipairs(call('ZRANGEBYSCORE', seen, '-inf', '(' .. int(now - WAITER_MS))) do
    call('ZREM', seen, w)
    call('ZREM', queue, w)
  end
end

local function join(queue, seen, ticket, id)
  call('ZADD', queue, int(ticket), id)
  call('ZADD', seen, int(now), id)
  call('PEXPIRE', queue, DAY_MS)
  call('PEXPIRE', seen, DAY_MS)
end

local function leave(ep, model, waiter, but_line)
  call('ZREM', key('short'), waiter)
  call('ZREM', key('seen', ep), waiter)
  if call('ZREM', key('queue', ep), waiter) == 1 then wake_line(ep) end
  if not but_line then
    call('ZREM', health('lineseen', ep, model), waiter)
    if call('ZREM', health('line', ep, model), waiter) == 1 then wake_parked(ep, model) end
  end
end

-- An admission as it was stored; one of an earlier version has no number.
local function record_of(text)
  local record = cjson.decode(text)
  record.seq, record.dice = record.seq or 0, record.dice or 0
  return record
end

local function forget(record)
  call('ZREM', health('flight', record.ep, record.model), record.id)
  local share, index = health('share', record.ep, record.model), 'b' .. int(slice(record.at))
  local since = get(health('breaker', record.ep, record.model), 'since', 0)
  if record.seq > since and call('HEXISTS', share, index) == 1 then call('HINCRBY', share, index, -1) end
end

-- The date (UTC) of a moment: the civil date of a count of days since 1970 (Howard Hinnant, "chrono-compatible low-level
-- date algorithms").
local function date_of(ms)
  local z = math.floor(ms / DAY_MS) + 719468
  local cycle = math.floor(z / 146097)
  local doe = z - cycle * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + cycle * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02d', year, month, day)
end

-- Reservations whose outcome nobody knows, by cap: their ids and when they expired.
local function unknown_of(cap) return cap .. ':unknown' end

-- The same by thread, for the caps of its steps and of the whole run.
local function write_lost(record)
  local lost = key('lost', record.thread)
  call('HSET', lost, record.id, int(record.worst) .. '|' .. record.call .. '|' .. record.step)
  call('PEXPIRE', lost, DAY_MS)
end

-- Admissions of dead processes: their slots are freed; what they had reserved is neither spent nor free, it is unknown.
local function expire(most)
  for _, id in ipairs(call('ZRANGEBYSCORE', key('leases'), '-inf', int(now), 'LIMIT', 0, most)) do
    call('ZREM', key('leases'), id)
    local text = call('GET', key('adm', id))
    if text then
      local record = record_of(text)
      record.expired = 1
      if record.worst > 0 then
        for _, cap in ipairs(record.caps) do
          call('HINCRBY', cap, 'held', int(-record.worst))
          call('HINCRBY', cap, 'unknown', int(record.worst))
          call('ZADD', unknown_of(cap), int(now), id)
          call('PEXPIRE', unknown_of(cap), 3 * DAY_MS)
        end
        if record.thread ~= '' then write_lost(record) end
      end
      keep(record, DAY_MS)
      forget(record)
      free(record)
    end
  end
end
expire(16)
