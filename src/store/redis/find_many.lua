-- ARGV: digests in hex
-- Adds a fourth list to those of the keys that there are: the index of each one's digest in ARGV.
local problem = unusable()
if problem then
  return problem
end
local found = redis.call('HMGET', digests, unpack(ARGV))
local wanted, indexes = {}, {}
for index = 1, #ARGV do
  if found[index] then
    wanted[#wanted + 1] = found[index]
    indexes[#indexes + 1] = index
  end
end
problem = #wanted < #ARGV and lost()
if problem then
  return problem
end
local columns = rows(wanted)
if not columns.err then
  columns[4] = indexes
end
return columns
