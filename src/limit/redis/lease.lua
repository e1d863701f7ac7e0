-- Lends requests to a node, which lets them in whenever it likes until its lease ends.
--
-- What is lent is owed from the end of the lease: until then nothing of it melts, so the debt is no
-- less than the lease is long. Hence it is no less than what was let in and what is lent, together,
-- whichever node lets in what is lent, whenever it may; and it is never more than a quota allows.
--
-- ARGV: how long the lease is (nanoseconds), the fewest requests that are of use, the most, how
-- many are fair whatever is left; how many of the last lease are unused, when that was (as
-- returned), and how long it was; of each limit the name, what a request costs, and how much may be owed
-- Returns how many are lent, the time, and the debt to each limit.
local names, owed, is_early = read(8, 3)
if not names then
  return owed
end
local lease, need, want, fair = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local unused, since, last = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local longest, over = leases()
local free = math.huge
for place, debt in ipairs(owed) do
  local charge, room = ARGV[place * 3 + 6], ARGV[place * 3 + 7]
  -- What has melted already is no longer there to be given back. Nor is what a longer lease counts on:
  -- the debt that it found was as long as it is because of what is given back.
  if unused > 0 and now >= since then
    local gone = (now - since) * 1000 + math.max(longest - last, 0)
    debt = math.max(debt - math.max(unused * charge - gone, 0), 0)
    owed[place] = debt
  end
  local left = room - math.max(debt, lease)
  local some = math.floor(left / charge)
  -- A quotient may have been rounded up to a whole number.
  if some * charge > left then
    some = some - 1
  end
  free = math.min(free, some)
end
local lent = 0
if free >= need then
  -- Other nodes want some of it, too.
  lent = math.min(free, math.max(need, math.min(want, math.max(fair, math.floor(free * 0.75)))))
  for place, debt in ipairs(owed) do
    owed[place] = math.max(debt, lease) + lent * ARGV[place * 3 + 6]
  end
end
if lent > 0 or unused > 0 or is_early then
  write(names, owed)
end
if lent > 0 then
  longest, over = math.max(longest, lease), math.max(over, now + math.ceil(lease / 1000))
  redis.call('HSET', bucket, LEASES, string.format('%.0f %.0f', longest, over))
end
return {lent, now, unpack(owed)}
