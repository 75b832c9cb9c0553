-- ARGV: format, token, number to keep, then for each namespace of a subgraph's call that the caller knows, and for each
-- namespace around it, the namespace, the one around it and the id of the checkpoint there that the call began at.
-- Keeps the latest checkpoints of each namespace and, for channels that they store as a history of writes, every ancestor
-- back to the one that holds their value. Nothing is kept of a call that began at a checkpoint which is gone or goes now:
-- it has ended, and no run comes back to it. One that began at a checkpoint that is yet to come (its graph stores in
-- the background) stays. Answers with the number removed, and whether calls are left of which the caller told nothing.
local most = tonumber(ARGV[3])
local members = redis.call('ZRANGE', index, 0, -1)
local newest = newest_of(members)
local heads, keep, known, ended, asked = {}, {}, {}, {}, {}

local current, count
for at = #members, 1, -1 do
  local ns = split(members[at])
  if ns ~= current then current, count = ns, 0 end
  if count < most then
    count = count + 1
    heads[members[at]] = true
  end
end
for at = 4, #ARGV, 3 do
  local ns, around, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  known[ns] = true
  if newest[around] and not below(newest[around], id) and not heads[around .. '\0' .. id] then ended[ns] = true end
end
for walk, member in ipairs(members) do
  local ns, id = split(member)
  if heads[member] and not ended[ns] then
    keep[member] = true
    ancestors(ns, id, asked, walk, function(ancestor) keep[ancestor] = true end)
  end
end
local gone, unknown = {}, 0
for _, member in ipairs(members) do
  local ns = split(member)
  if not keep[member] then
    gone[#gone + 1] = member
  elseif not known[ns] and string.find(ns, ':', 1, true) then
    unknown = 1
  end
end
return {remove(gone, ended), unknown}
