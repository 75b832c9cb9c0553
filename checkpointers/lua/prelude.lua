-- Shared by every script on a thread's data. KEYS[1] is its hash, KEYS[2] its index; ARGV[1] is the format this client
-- writes. In those that change it KEYS[3] is its lease and ARGV[2] the writer's token; see fence.lua.
--
-- Fields of the hash (ns, id, channel and task are escaped and hold no NUL):
--   v                            format version
--   c ns NUL id                  checkpoint: frames of parent, refs, histories, run, body, metadata
--   b ns NUL channel NUL ver     value of a channel at a version, shared by every checkpoint that refers to it
--   b ... NUL x digest           another value under the same name: a fork under a saver with plain integer versions
--   g ns NUL channel NUL log     a list that grows: number of elements, then the first element of each segment
--   s ... log first              segment of that list: what the serializer made of its elements from `first` on
--   w ns NUL id                  writes on a checkpoint: blocks of task, path, entries; one without entries has them in
--   w ns NUL id NUL task         a field of its own after its path, because it is long or one of many
--   w ns NUL id NUL NUL number   blocks of more such tasks; there are as many as the block says whose task is NUL number
--   q                            number of the request that put the thread aside; see quarantine.lua
-- An entry of refs is `channel NUL version`, for what is not in a field `b` of that name followed by NUL and
--   e                            no value
--   i bytes                      the value itself
--   x digest                     the variant
--   l log count seal             the first `count` elements of a log; the seal is the client's, empty without encryption
-- The index holds `ns NUL id` with score 0, so a range by bytes is a range by age within a namespace.
local data, index = KEYS[1], KEYS[2]
local stored = redis.call('HGET', data, 'v')
if stored and stored ~= ARGV[1] then
  return redis.error_reply('SFFORMAT ' .. stored)
end

local REFS, HISTORIES, RUN = 2, 3, 4

-- Ends a script at bytes that are not what any client writes.
local function damaged(what)
  error('SFDAMAGED ' .. what)
end

local CIRCLE = 'its checkpoints follow from each other in a circle'

local function frames(bytes, count)
  local parts, at, size = {}, 1, #bytes
  while at <= size and (not count or #parts < count) do
    parts[#parts + 1], at = struct.unpack('>I4c0', bytes, at)
  end
  return parts
end

-- One frame of a record.
local function frame_of(record, number)
  return frames(record, number)[number] or damaged('it has not all of its parts')
end

-- The frames inside one frame of a record; none when the record is missing.
local function part(record, number)
  return record and frames(frame_of(record, number)) or {}
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
  local nul = string.find(member, '\0', 1, true) or damaged('a name is cut off')
  return string.sub(member, 1, nul - 1), string.sub(member, nul + 1)
end

local function checkpoint(ns, id)
  return redis.call('HGET', data, 'c' .. ns .. '\0' .. id)
end

-- The id of a checkpoint's parent; '' when it has none, or when that is there no more (see remove).
local function parent_of(ns, record)
  local parent = frame_of(record, 1)
  if parent == '' or redis.call('HEXISTS', data, 'c' .. ns .. '\0' .. parent) == 0 then return '' end
  return parent
end

-- The name of a value and what follows it in an entry of refs, or nil.
local function ref(entry)
  local version = (string.find(entry, '\0', 1, true) or damaged('a name is cut off')) + 1
  local nul = string.find(entry, '\0', version, true)
  if not nul then return entry end
  return string.sub(entry, 1, nul - 1), string.sub(entry, nul + 1)
end

-- The field that an entry refers to: of a value, or of the directory of a log; nil for one that says all by itself.
local function field_of(ns, entry)
  local name, payload = ref(entry)
  local kind = payload and string.sub(payload, 1, 1)
  if kind == 'i' or kind == 'e' then return nil end
  if kind == 'l' then
    local channel = split(name)
    return 'g' .. ns .. '\0' .. channel .. '\0' .. string.sub(payload, 2, 9)
  end
  return 'b' .. ns .. '\0' .. entry
end

local function has_value(entry)
  local _, payload = ref(entry)
  return payload ~= 'e'
end

-- What is stored for an entry: bytes, or a log's directory and segments; nil where nothing is, or where it stands in the
-- entry. Answers with the field too.
local function stored_for(ns, entry)
  local field = field_of(ns, entry)
  local found = field and redis.call('HGET', data, field)
  if not found or string.byte(field) == 98 then return field, found or nil end
  local base, log, names = 's' .. string.sub(field, 2), {found}, {}
  for at = 5, #found, 4 do names[#names + 1] = base .. string.sub(found, at, at + 3) end
  for first = 1, #names, 4000 do
    for _, bytes in ipairs(redis.call('HMGET', data, unpack(names, first, math.min(first + 3999, #names)))) do
      log[#log + 1] = bytes
    end
  end
  return field, log
end

-- The first elements of a log's segments.
local function segments(directory)
  local starts = {}
  for at = 5, #directory, 4 do starts[#starts + 1] = struct.unpack('>I4', directory, at) end
  return starts
end

-- Appends blocks of {task, path, entries, whether path and entries are in a field of their own, which is not read here}.
-- Answers with the number of fields that hold more of them.
local function add_blocks(blocks, listed)
  local at, size, more = 1, #listed, 0
  if size == 0 then damaged('writes are cut off') end
  while at <= size do
    local task, path, length = struct.unpack('>I2I2I4', listed, at)
    at = at + 8
    local name = string.sub(listed, at, at + task - 1)
    if string.byte(name) == 0 then
      more = struct.unpack('>I4', name, 2)
    else
      blocks[#blocks + 1] = {
        name, string.sub(listed, at + task, at + task + path - 1),
        string.sub(listed, at + task + path, at + task + path + length - 1), length == 0,
      }
    end
    at = at + task + path + length
  end
  if at ~= size + 1 then damaged('writes are cut off') end
  return more
end

local function more_blocks(member, number)
  return 'w' .. member .. '\0\0' .. struct.pack('>I4', number)
end

-- The blocks of a checkpoint, and the fields beside the first that they are in.
local function blocks_of(member)
  local blocks, fields = {}, {}
  local listed = redis.call('HGET', data, 'w' .. member)
  if not listed then return blocks, fields end
  for number = 1, add_blocks(blocks, listed) do
    fields[number] = more_blocks(member, number)
    add_blocks(blocks, redis.call('HGET', data, fields[number]) or '')
  end
  return blocks, fields
end

-- The path and the entries in a task's own field.
local function own_of(stored)
  local path, at = struct.unpack('>I2c0', stored)
  return path, string.sub(stored, at)
end

local function entries_of(member, written)
  if not written[4] then return written[2], written[3] end
  return own_of(redis.call('HGET', data, 'w' .. member .. '\0' .. written[1]) or damaged('writes of a task are missing'))
end

local function block(task, path, entries)
  return struct.pack('>I2I2I4', #task, #path, #entries) .. task .. path .. entries
end

local function write_entries(record)
  local entries, at, size = {}, 1, #record
  while at <= size do
    local idx, name, body = struct.unpack('>i4I2I4', record, at)
    local stop = at + 10 + name + body
    entries[#entries + 1] = {idx, string.sub(record, at + 10, at + 9 + name), string.sub(record, at, stop - 1)}
    at = stop
  end
  if at ~= size + 1 then damaged('writes are cut off') end
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

-- The newest id of each namespace: the index is in the order of ids within each.
local function newest_of(members)
  local newest = {}
  for _, member in ipairs(members) do
    local ns, id = split(member)
    newest[ns] = id
  end
  return newest
end

-- What the channels are rebuilt from that a checkpoint stores as a history of writes: calls `visit` with each ancestor
-- back to the one that holds their value. `asked` holds for each ancestor the channels that it was visited for, each
-- with the number of that walk, so that walks from many checkpoints do not go the same way again.
local function ancestors(ns, id, asked, walk, visit)
  local record, wanted, left = checkpoint(ns, id), {}, 0
  for _, channel in ipairs(part(record, HISTORIES)) do
    if not wanted[channel] then
      wanted[channel] = true
      left = left + 1
    end
  end
  while record and left > 0 do
    local parent = frame_of(record, 1)
    record = parent ~= '' and checkpoint(ns, parent)
    if not record then return end
    local member = ns .. '\0' .. parent
    visit(member)
    asked[member] = asked[member] or {}
    for channel in pairs(wanted) do
      local before = asked[member][channel]
      if before == walk then damaged(CIRCLE) end
      if before then
        wanted[channel] = nil
        left = left - 1
      else
        asked[member][channel] = walk
      end
    end
    for _, entry in ipairs(part(record, REFS)) do
      local channel = split(entry)
      if wanted[channel] and has_value(entry) then
        wanted[channel] = nil
        left = left - 1
      end
    end
  end
end

-- Removes checkpoints, then every value and every log that no remaining one refers to, and the writes on what is not
-- there, now or since long ago. Writes may come before their checkpoint, so those on ids above all that the namespace
-- has ever had are left, but for the namespaces that are `ended`. A remaining checkpoint keeps the name of a parent that
-- was removed, because what is encrypted is bound to it, and reads as one without a parent.
local function remove(members, ended)
  local gone, newest, there = {}, newest_of(redis.call('ZRANGE', index, 0, -1)), {}
  for _, member in ipairs(members) do gone[#gone + 1] = 'c' .. member end
  in_pieces('HDEL', data, gone, 4000)
  in_pieces('ZREM', index, members, 4000)
  local remaining = redis.call('ZRANGE', index, 0, -1)
  if #remaining == 0 and #members > 0 then
    redis.call('UNLINK', data, index)
    return #members
  end
  local used = {}
  for _, member in ipairs(remaining) do
    there[member] = true
    local ns, id = split(member)
    for _, entry in ipairs(part(checkpoint(ns, id), REFS)) do
      local field = field_of(ns, entry)
      if field then used[field] = true end
    end
  end
  local unused = {}
  for _, field in ipairs(redis.call('HKEYS', data)) do
    local kind, owner = string.byte(field), field
    -- A segment belongs to its log: the same name without its first element.
    if kind == 115 then owner = 'g' .. string.sub(field, 2, -5) end
    if kind == 119 then
      local ns, id = split(string.sub(field, 2))
      id = string.match(id, '^[^%z]*')
      local stray = not there[ns .. '\0' .. id] and newest[ns] and not below(newest[ns], id)
      used[owner] = not stray and not (ended and ended[ns])
    end
    if (kind == 98 or kind == 103 or kind == 115 or kind == 119) and not used[owner] then
      unused[#unused + 1] = field
    end
  end
  in_pieces('HDEL', data, unused, 4000)
  return #members
end

