-- ARGV: digest
local problem = unusable()
if problem then
  return problem
end
local id = redis.call('HGET', digests, ARGV[1])
if not id then
  return lost() or rows({})
end
return rows({id})
