-- ARGV: digests in hex
-- Adds a fourth list to those of the keys that there are: the place of each one's digest in ARGV.
local problem = unusable()
if problem then
  return problem
end
local found = redis.call('HMGET', digests, unpack(ARGV))
local wanted, places = {}, {}
for place = 1, #ARGV do
  if found[place] then
    wanted[#wanted + 1] = found[place]
    places[#places + 1] = place
  end
end
problem = #wanted < #ARGV and lost()
if problem then
  return problem
end
local columns = rows(wanted)
columns[4] = places
return columns
