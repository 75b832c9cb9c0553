-- Shared by every script. KEYS[1] is the thread's hash, KEYS[2] its index; ARGV[1] is the format this client writes.
--
-- Fields of the hash (ns, id, channel and task are escaped and hold no NUL):
--   v                        format version
--   x                        present when some value has a variant (see put)
--   c ns NUL id              checkpoint: frames of parent, refs, delta, run, body, metadata
--   b ns NUL channel NUL ver value of a channel at a version, shared by every checkpoint that refers to it
--   p ns NUL id              tasks that have writes on the checkpoint, as frames
--   w ns NUL id NUL task     writes of one task: entries of int32 idx, two lengths, channel, body
-- The index holds `ns NUL id` with score 0, so a range by bytes is a range by age within a namespace.
local data, index = KEYS[1], KEYS[2]
local stored = redis.call('HGET', data, 'v')
if stored and stored ~= ARGV[1] then
  return redis.error_reply('SFFORMAT ' .. stored)
end

local REFS, DELTA, RUN = 2, 3, 4

local function frames(bytes, count)
  local parts, at, size = {}, 1, #bytes
  while at <= size and (not count or #parts < count) do
    parts[#parts + 1], at = struct.unpack('>I4c0', bytes, at)
  end
  return parts
end

-- The frames inside one frame of a record; none when the record is missing.
local function part(record, number)
  return record and frames(frames(record, number)[number]) or {}
end

local function frame(bytes)
  return struct.pack('>I4', #bytes) .. bytes
end

-- `unpack` is bounded by the Lua stack (8000 in Redis), so long argument lists go in pieces.
local function in_pieces(command, key, items, step)
  for first = 1, #items, step do
    redis.call(command, key, unpack(items, first, math.min(first + step - 1, #items)))
  end
end

local function latest(ns)
  local found = redis.call('ZREVRANGEBYLEX', index, '(' .. ns .. '\1', '[' .. ns .. '\0', 'LIMIT', 0, 1)
  return found[1] and string.sub(found[1], #ns + 2)
end

local function split(member)
  local nul = string.find(member, '\0', 1, true)
  return string.sub(member, 1, nul - 1), string.sub(member, nul + 1)
end

local function checkpoint(ns, id)
  return redis.call('HGET', data, 'c' .. ns .. '\0' .. id)
end

local function tasks(ns, id)
  local listed = redis.call('HGET', data, 'p' .. ns .. '\0' .. id)
  return listed and frames(listed) or {}
end

local function write_entries(record)
  local entries, at, size = {}, 1, #record
  while at <= size do
    local idx, name, body = struct.unpack('>i4I4I4', record, at)
    local stop = at + 12 + name + body
    entries[#entries + 1] = {idx, string.sub(record, at + 12, at + 11 + name), string.sub(record, at, stop - 1)}
    at = stop
  end
  return entries
end

-- One absolute time for both keys, so that they cannot expire apart.
local function expire(milliseconds)
  if milliseconds == '' then return end
  local now = redis.call('TIME')
  local at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(milliseconds))
  redis.call('PEXPIREAT', data, at)
  redis.call('PEXPIREAT', index, at)
end

-- Removes checkpoints with their writes, then every channel value that no remaining checkpoint refers to.
local function remove(members)
  if #members == 0 then return 0 end
  local gone = {}
  for _, member in ipairs(members) do
    local ns, id = split(member)
    gone[#gone + 1] = 'c' .. member
    gone[#gone + 1] = 'p' .. member
    for _, task in ipairs(tasks(ns, id)) do
      gone[#gone + 1] = 'w' .. member .. '\0' .. task
    end
  end
  in_pieces('HDEL', data, gone, 4000)
  in_pieces('ZREM', index, members, 4000)
  local remaining = redis.call('ZRANGE', index, 0, -1)
  if #remaining == 0 then
    redis.call('UNLINK', data, index)
    return #members
  end
  local used = {}
  for _, member in ipairs(remaining) do
    local ns, id = split(member)
    for _, name in ipairs(part(checkpoint(ns, id), REFS)) do
      used['b' .. ns .. '\0' .. name] = true
    end
  end
  local unused = {}
  for _, field in ipairs(redis.call('HKEYS', data)) do
    if string.byte(field) == 98 and not used[field] then
      unused[#unused + 1] = field
    end
  end
  in_pieces('HDEL', data, unused, 4000)
  return #members
end

