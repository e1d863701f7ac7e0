-- ARGV: lineages
-- Returns the time, and the balances of the lineages, in their order.
local problem = unusable()
if problem then
  return problem
end
if #ARGV == 0 then
  return {clock(), {}}
end
local found = redis.call('HMGET', balances, unpack(ARGV))
for place = 1, #ARGV do
  problem = not found[place] and lost()
  if problem then
    return problem
  end
end
return {clock(), found}
