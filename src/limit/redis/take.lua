-- One request: is let in by all limits, or by none.
-- ARGV: of each limit the name, what the request costs, and how much may be owed after it
-- Returns 1 or 0, and the debt to each limit.
local names, owed, is_early = read(1, 3)
if not names then
  return owed
end
local is_allowed = 1
for place, debt in ipairs(owed) do
  local charge, room = ARGV[place * 3 - 1], ARGV[place * 3]
  -- A sum may not fit into a double.
  if debt > room - charge then
    is_allowed = 0
  end
end
if is_allowed == 1 then
  for place, debt in ipairs(owed) do
    owed[place] = debt + ARGV[place * 3 - 1]
  end
end
if is_allowed == 1 or is_early then
  write(names, owed)
end
return {is_allowed, unpack(owed)}
