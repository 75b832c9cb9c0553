-- ARGV: format, token, ttl ms or '', ns, id, parent id or '', histories, run, body, metadata, then for each channel
-- (name, kind, what). Answers with the names whose values the caller has to send in another way (then nothing was stored), else an
-- empty list. Kinds:
--   e  no value; k  the value that the parent refers to, or this checkpoint itself when it is put again
--   i  a value that stands in the record; b  a value in a field
--   n  a new log: its seal, its id (8 bytes), number of elements, bytes
--   l  a log as it is: its seal, its id and number of elements
--   a  a longer log: its seal, its id, elements that it has to have, elements that it gets, first element and length of
--      the bytes that take the place of its last segments (length 0: of none), bytes of the new elements, those bytes
-- A seal is two bytes of length and what stands at the end of the entry.
--
-- A stored value is never changed, and a log is only made longer by who knows its end: whoever comes second (a fork, two
-- writers) is told to send the list as a new log. Sending the same put again changes nothing.
local ttl, ns, id, parent = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local prefix = ns .. '\0'

-- A parent is older than what follows from it. Where the ids say otherwise its ancestors are looked through, as many as
-- there are checkpoints: none of them may be this one.
if parent ~= '' and not below(parent, id) then
  local at = parent
  for _ = 0, redis.call('ZCARD', index) do
    if at == id then return redis.error_reply('SFCIRCLE checkpoint') end
    local record = at ~= '' and checkpoint(ns, at)
    if not record then break end
    at = frame_of(record, 1)
  end
end

local entries, fields, dropped, missing = {}, {}, {}, {}
local of_parent

local function set(field, value)
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end

local function kept(name)
  if not of_parent then
    of_parent = {}
    for _, entry in ipairs(part(parent ~= '' and checkpoint(ns, parent), REFS)) do of_parent[ref(entry)] = entry end
    -- A checkpoint that is put again has values of its own.
    for _, entry in ipairs(part(checkpoint(ns, id), REFS)) do of_parent[ref(entry)] = entry end
  end
  local entry = of_parent[name] or name
  local field = field_of(ns, entry)
  if not has_value(entry) then return nil end
  if field and redis.call('HEXISTS', data, field) == 0 then return nil end
  return entry
end

local function value(name, bytes)
  local old = redis.call('HGET', data, 'b' .. prefix .. name)
  if old == bytes then return name end
  if old then
    name = name .. '\0x' .. redis.sha1hex(bytes)
    if redis.call('HEXISTS', data, 'b' .. prefix .. name) == 1 then return name end
  end
  set('b' .. prefix .. name, bytes)
  return name
end

local function sealed(what)
  local seal, at = struct.unpack('>I2c0', what)
  return seal, string.sub(what, at)
end

local function new_log(name, what)
  local seal, what = sealed(what)
  local log, count, bytes = string.sub(what, 1, 8), string.sub(what, 9, 12), string.sub(what, 13)
  local base = prefix .. split(name) .. '\0' .. log
  local directory = count .. '\0\0\0\0'
  local old = redis.call('HGET', data, 'g' .. base)
  if old and old ~= directory then return nil end
  set('g' .. base, directory)
  set('s' .. base .. '\0\0\0\0', bytes)
  return name .. '\0l' .. log .. count .. seal
end

local function same_log(name, what)
  local seal, what = sealed(what)
  local directory = redis.call('HGET', data, 'g' .. prefix .. split(name) .. '\0' .. string.sub(what, 1, 8))
  local there = directory and struct.unpack('>I4', directory) >= struct.unpack('>I4', what, 9)
  return there and name .. '\0l' .. what .. seal or nil
end

local function longer_log(name, what)
  local seal, what = sealed(what)
  local log, has, gets, first, length, at = struct.unpack('>c8I4I4I4I4', what)
  local base = prefix .. split(name) .. '\0' .. log
  local directory = redis.call('HGET', data, 'g' .. base)
  if not directory then return nil end
  local entry = name .. '\0l' .. log .. struct.pack('>I4', has + gets) .. seal
  local count = struct.unpack('>I4', directory)
  local starts = segments(directory)
  local stop = #what - length
  if count == has + gets then
    -- The same put, sent again because its answer was lost.
    local merged = length > 0 and starts[#starts] == first
    local from = merged and first or has
    local bytes = merged and string.sub(what, stop + 1) or string.sub(what, at, stop)
    local there = redis.call('HGET', data, 's' .. base .. struct.pack('>I4', from))
    return there == bytes and entry or nil
  end
  if count ~= has then return nil end
  if length > 0 then
    local keep = {}
    for _, start in ipairs(starts) do
      if start < first then keep[#keep + 1] = start else dropped[#dropped + 1] = 's' .. base .. struct.pack('>I4', start) end
    end
    if #keep == #starts or starts[#keep + 1] ~= first then return nil end
    keep[#keep + 1] = first
    starts = keep
    set('s' .. base .. struct.pack('>I4', first), string.sub(what, stop + 1))
  else
    starts[#starts + 1] = has
    set('s' .. base .. struct.pack('>I4', has), string.sub(what, at, stop))
  end
  local parts = {struct.pack('>I4', has + gets)}
  for _, start in ipairs(starts) do parts[#parts + 1] = struct.pack('>I4', start) end
  set('g' .. base, table.concat(parts))
  return entry
end

for at = 11, #ARGV, 3 do
  local name, kind, what, entry = ARGV[at], ARGV[at + 1], ARGV[at + 2], nil
  if kind == 'e' then
    entry = name .. '\0e'
  elseif kind == 'i' then
    entry = name .. '\0i' .. what
  elseif kind == 'k' then
    entry = kept(name)
  elseif kind == 'b' then
    entry = value(name, what)
  elseif kind == 'n' then
    entry = new_log(name, what)
  elseif kind == 'l' then
    entry = same_log(name, what)
  else
    entry = longer_log(name, what)
  end
  if entry then entries[#entries + 1] = frame(entry) else missing[#missing + 1] = name end
end
if #missing > 0 then return missing end

local record = {parent, table.concat(entries), ARGV[7], ARGV[8], ARGV[9], ARGV[10]}
for at = 1, #record do record[at] = frame(record[at]) end
in_pieces('HDEL', data, dropped, 4000)
set('c' .. prefix .. id, table.concat(record))
set('v', ARGV[1])
in_pieces('HSET', data, fields, 4000)
redis.call('ZADD', index, 0, prefix .. id)
expire(ttl)
return missing
