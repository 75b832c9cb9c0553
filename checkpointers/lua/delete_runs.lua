-- ARGV: format, token, run ids. Removes the checkpoints those runs made, with their writes. Answers with their number,
-- which is 0 when it is sent again: a registry is not told then, and `reconcile` makes up for it.
local runs, gone = {}, {}
for at = 3, #ARGV do runs[ARGV[at]] = true end
for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local ns, id = split(member)
  local record = checkpoint(ns, id)
  if record and runs[frames(record, RUN)[RUN]] then gone[#gone + 1] = member end
end
-- All threads are asked, so who was superseded is refused only where there is something to remove.
if #gone == 0 then return 0 end
return superseded() or remove(gone)
