-- An entry of the registry; nil for what no client writes, so that one damaged entry does not stop what is done to it.
-- What is an entry here is one in `_entries.py`, and the other way round.
local function entry_of(stored)
  local fine, entry = pcall(cjson.decode, stored)
  if not fine or type(entry) ~= 'table' or type(entry.i) ~= 'table' then return nil end
  for _, name in ipairs({'c', 'o', 'w', 'e', 't'}) do
    if type(entry[name]) ~= 'string' then return nil end
  end
  if #entry.t > 17 or not string.match(entry.t, '^%d+$') then return nil end
  for _, asked in pairs(entry.i) do
    if type(asked) ~= 'table' then return nil end
    for _, one in pairs(asked) do
      if type(one) ~= 'table' or #one ~= 3 then return nil end
      for at = 1, 3 do
        if type(one[at]) ~= 'string' then return nil end
      end
    end
  end
  return entry
end

