-- Looks at a few of the balances, and removes those of lines that have no key any more. The line of
-- an owner (a UUID of version 8) may get another key, which has what the last one left.
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
  local line = scanned[2][place]
  if string.sub(line, 15, 15) ~= '8'
    and redis.call('HEXISTS', keys, line) == 0
    and redis.call('ZLEXCOUNT', lines, '[' .. line .. ':', '(' .. line .. ';') == 0 then
    gone[#gone + 1] = line
  end
end
for _, line in ipairs(gone) do
  redis.call('HDEL', balances, line)
  redis.call('HINCRBY', schema, 'balances', -1)
end
return scanned[1]
