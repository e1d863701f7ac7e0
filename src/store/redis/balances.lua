-- ARGV: lines
local problem = unusable()
if problem then
  return problem
end
local found = redis.call('HMGET', balances, unpack(ARGV))
for place = 1, #ARGV do
  problem = not found[place] and lost()
  if problem then
    return problem
  end
end
return found
