-- Takes back a request that was let in.
-- ARGV: of each limit the name, and what of the request's cost has not melted
local names, owed = read(1, 2)
if not names then
  return owed
end
-- A lease may count on so much of it: the debt that it found was as long as it is because of that.
local longest = leases()
local is_owed = false
for place, debt in ipairs(owed) do
  is_owed = is_owed or debt > 0
  owed[place] = math.max(debt - math.max(ARGV[place * 2] - longest, 0), 0)
end
if is_owed then
  write(names, owed)
end
return 'done'
