-- ARGV: a lineage, a colon and a request in hex
-- Returns the request in a list, or an empty one.
local problem = unusable()
if problem then
  return problem
end
local found = redis.call('HGET', acts, ARGV[1])
return found and {found} or lost_acts() or {}
