-- ARGV: id
local problem = unusable()
if problem then
  return problem
end
if redis.call('HEXISTS', keys, ARGV[1]) == 0 then
  return lost() or rows({})
end
return rows({ARGV[1]})
