-- Looks at a few of the balances, and removes those of lineages that have no key any more. The
-- lineage of an owner (a UUID of version 8) may get another key, which has what the last one left.
--
-- ARGV: where in `balances` to begin, how many to look at
-- Returns where to go on, and `0` at the end.
local problem = unusable() or lost()
if problem then
  return problem
end
assert_types()
local scanned = redis.call('HSCAN', balances, ARGV[1], 'COUNT', ARGV[2])
local gone = {}
for place = 1, #scanned[2], 2 do
  local lineage = scanned[2][place]
  if string.sub(lineage, 15, 15) ~= '8'
    and redis.call('HEXISTS', keys, lineage) == 0
    and redis.call('ZLEXCOUNT', lines, '[' .. lineage .. ':', '(' .. lineage .. ';') == 0 then
    gone[#gone + 1] = lineage
  end
end
for _, lineage in ipairs(gone) do
  redis.call('HDEL', balances, lineage)
  redis.call('HINCRBY', schema, 'balances', -1)
end
return scanned[1]
