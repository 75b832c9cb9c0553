-- An entry of the registry; nil for what no client writes, so that one damaged entry does not stop what is done to it.
local function entry_of(stored)
  local fine, entry = pcall(cjson.decode, stored)
  if not fine or type(entry) ~= 'table' or type(entry.i) ~= 'table' then return nil end
  for _, name in ipairs({'c', 'o', 'w', 'e', 't'}) do
    if type(entry[name]) ~= 'string' then return nil end
  end
  for _, asked in pairs(entry.i) do
    if type(asked) ~= 'table' then return nil end
    for _, one in ipairs(asked) do
      if type(one) ~= 'table' then return nil end
    end
  end
  return entry
end

