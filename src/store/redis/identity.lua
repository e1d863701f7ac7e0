-- ARGV: an identity, for a store that has none
-- Not read by `migrate`: programs of an older version made stores without one.
local problem = unusable()
if problem then
  return problem
end
local identity = redis.call('HGET', schema, 'identity')
if not identity then
  redis.call('HSET', schema, 'identity', ARGV[1])
  identity = ARGV[1]
end
return identity
