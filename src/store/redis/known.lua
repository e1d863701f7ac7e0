-- ARGV: where in `digests` to begin, about how many to list
-- Returns where to go on, and `0` at the end; how many keys there are; the digests of those that are
-- not deleted.
local problem = unusable() or lost()
if problem then
  return problem
end
local scanned = redis.call('HSCAN', digests, ARGV[1], 'COUNT', ARGV[2])
local found = {}
for place = 1, #scanned[2], 2 do
  if redis.call('ZSCORE', ids, scanned[2][place + 1]) then
    found[#found + 1] = scanned[2][place]
  end
end
return {scanned[1], redis.call('HLEN', digests), found}
