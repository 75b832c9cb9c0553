-- KEYS: entries (hash by thread), changed (threads by time of change), waiting (threads by when an answer is due),
-- tokens (threads by the token of whom their lease was given to last, as far as notes tell).
-- ARGV: thread, token of the writer or '', kind, checkpoint id, then
--   taken  nothing: the writer was given the lease, notes of older ones are refused from now on
--   put    whether anything is next ('1' or ''), outcome
--   write  task, class of the error or '', triples of interrupt (id, tier, due in seconds or '')
--   seen   nothing: the thread is there, whatever is known of it
--   set    whether anything is next, outcome, class of the error, time of the entry as it was before the thread was read
--          ('' for none), triples of interrupt: what that reading says, unless a note has come meanwhile
--   drop   nothing: the thread is gone
-- An entry is JSON: c latest checkpoint, n next, o outcome; w checkpoint that was written to last, e error, i interrupts
-- by task; t time of change in microseconds. Notes come in any order and twice: one about an older checkpoint, or of a
-- writer that was superseded, changes nothing, and writes may come before the checkpoint that they belong to.
local entries, changed, waiting, tokens = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local thread, token, kind, id = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
-- Tokens outlive entries, because a deleted thread must not come back; they are times, and forgotten in the end.
local NEVER, TOKENS_US = 9e15, 30 * 86400 * 1000000

if token then
  local last = tonumber(redis.call('ZSCORE', tokens, thread) or 0)
  if token < last then return 0 end
  if token > last then
    redis.call('ZADD', tokens, ARGV[2], thread)
    redis.call('ZREMRANGEBYSCORE', tokens, '-inf', string.format('%.0f', token - TOKENS_US))
  end
end
if kind == 'taken' then return 1 end
if kind == 'drop' then
  redis.call('HDEL', entries, thread)
  redis.call('ZREM', changed, thread)
  redis.call('ZREM', waiting, thread)
  return 1
end

local stored = redis.call('HGET', entries, thread)
local entry = stored and entry_of(stored) or {c = '', n = false, o = '', w = '', e = '', i = {}}

local function triples(first)
  local found = {}
  for at = first, #ARGV, 3 do found[#found + 1] = {ARGV[at], ARGV[at + 1], ARGV[at + 2]} end
  return found
end

if kind == 'put' then
  if below(id, entry.c) then return 0 end
  entry.c, entry.n, entry.o = id, ARGV[5] == '1', ARGV[6]
elseif kind == 'write' then
  if below(id, entry.c) or below(id, entry.w) then return 0 end
  if id ~= entry.w then entry.w, entry.e, entry.i = id, '', {} end
  if ARGV[6] ~= '' then entry.e = ARGV[6] end
  local asked = triples(7)
  if #asked > 0 then entry.i[ARGV[5]] = asked end
elseif kind == 'set' then
  if (entry.t or '') ~= ARGV[8] then return 0 end
  entry.c, entry.n, entry.o, entry.w, entry.e, entry.i = id, ARGV[5] == '1', ARGV[6], id, ARGV[7], {}
  local asked = triples(9)
  if #asked > 0 then entry.i[''] = asked end
end

local due
if entry.w == entry.c and entry.c ~= '' then
  for _, asked in pairs(entry.i) do
    for _, one in ipairs(asked) do due = math.min(due or NEVER, tonumber(one[3]) or NEVER) end
  end
end
if kind ~= 'set' or not entry.t then
  local now = redis.call('TIME')
  entry.t = string.format('%.0f', now[1] * 1000000 + now[2])
end
redis.call('HSET', entries, thread, cjson.encode(entry))
redis.call('ZADD', changed, entry.t, thread)
if due then
  redis.call('ZADD', waiting, string.format('%.3f', due), thread)
else
  redis.call('ZREM', waiting, thread)
end
return 1
