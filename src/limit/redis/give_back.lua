-- Takes back a request that was let in.
-- ARGV: of each limit the name, and what the request cost
local names, owed = read(1, 2)
if not names then
  return owed
end
local is_owed = false
for place, debt in ipairs(owed) do
  is_owed = is_owed or debt > 0
  owed[place] = math.max(debt - ARGV[place * 2], 0)
end
if is_owed then
  write(names, owed)
end
return 'done'
