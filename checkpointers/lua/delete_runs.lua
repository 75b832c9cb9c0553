-- ARGV: format, token, run ids. Removes the checkpoints those runs made, with their writes. Answers with their number,
-- which is 0 when it is sent again: a registry is not told then, and `reconcile` makes up for it. Refuses when what would
-- go is needed to rebuild channels of what stays.
local runs, gone, goes, asked = {}, {}, {}, {}
for at = 3, #ARGV do runs[ARGV[at]] = true end
local members = redis.call('ZRANGE', index, 0, -1)
for _, member in ipairs(members) do
  local ns, id = split(member)
  local record = checkpoint(ns, id)
  if record and runs[frame_of(record, RUN)] then
    gone[#gone + 1] = member
    goes[member] = true
  end
end
-- All threads are asked, so who was superseded is refused only where there is something to remove.
if #gone == 0 then return 0 end
local refused = superseded()
if refused then return refused end
local needed = false
for walk, member in ipairs(members) do
  if not goes[member] then
    local ns, id = split(member)
    ancestors(ns, id, asked, walk, function(ancestor) needed = needed or goes[ancestor] end)
  end
end
if needed then return redis.error_reply('SFNEEDED history') end
return remove(gone)
