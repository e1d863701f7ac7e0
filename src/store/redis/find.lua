-- ARGV: `digests` or `requests`, one of these in hex
local problem = unusable()
if problem then
  return problem
end
local id = redis.call('HGET', ARGV[1] == 'requests' and requests or digests, ARGV[2])
if not id then
  return lost() or rows({})
end
return rows({id})
