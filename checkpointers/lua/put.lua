-- ARGV: format, ttl ms or '', ns, id, record, count n, n pairs of (value name, bytes), names that must be stored
-- already. Answers with the names that are missing (then nothing was stored and the caller sends them too), else an
-- empty list.
--
-- A stored value is never changed. When a name already holds other bytes (a fork under a saver with plain integer
-- versions), the new value gets a variant of the name, with its digest, and only this checkpoint and its descendants
-- refer to it.
local ttl, ns, id, record, count = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local prefix, fields, variant, varied = 'b' .. ns .. '\0', {}, {}, false
for at = 7, 5 + 2 * count, 2 do
  local name, bytes = ARGV[at], ARGV[at + 1]
  local old = redis.call('HGET', data, prefix .. name)
  if old and old ~= bytes then
    variant[name] = name .. '\0' .. redis.sha1hex(bytes)
    varied = true
    name = variant[name]
    old = false
  end
  if not old then
    fields[#fields + 1] = prefix .. name
    fields[#fields + 1] = bytes
  end
end

-- Only a thread that has variants pays for looking at what the parent refers to.
if redis.call('HEXISTS', data, 'x') == 1 then
  local parent = frames(record, 1)[1]
  local of_parent = {}
  for _, name in ipairs(part(parent ~= '' and checkpoint(ns, parent), REFS)) do
    local base = string.match(name, '^[^%z]*%z[^%z]*')
    if base ~= name then of_parent[base] = name end
  end
  for at = 7 + 2 * count, #ARGV do
    if of_parent[ARGV[at]] then
      variant[ARGV[at]] = of_parent[ARGV[at]]
      varied = true
    end
  end
end

local missing = {}
for at = 7 + 2 * count, #ARGV do
  if redis.call('HEXISTS', data, prefix .. (variant[ARGV[at]] or ARGV[at])) == 0 then
    missing[#missing + 1] = ARGV[at]
  end
end
if #missing > 0 then
  return missing
end

if varied then
  local parts, refs = frames(record), {}
  for _, name in ipairs(frames(parts[REFS])) do refs[#refs + 1] = frame(variant[name] or name) end
  parts[REFS] = table.concat(refs)
  for at = 1, #parts do parts[at] = frame(parts[at]) end
  record = table.concat(parts)
  redis.call('HSET', data, 'x', '1')
end
redis.call('HSET', data, 'v', ARGV[1], 'c' .. ns .. '\0' .. id, record)
in_pieces('HSET', data, fields, 4000)
redis.call('ZADD', index, 0, ns .. '\0' .. id)
expire(ttl)
return missing
