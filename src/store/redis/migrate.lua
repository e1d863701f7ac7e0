-- Begins an empty schema, brings an old one up to date, or checks the one that is there.
local version = redis.call('HGET', schema, 'version')
if version and version ~= '1' then
  return unusable() or 'done'
end
-- What is to be new must not be there.
local present
if version then
  present = redis.call('EXISTS', requests, legacy)
else
  present = redis.call('EXISTS', unpack(KEYS))
end
if present > 0 then
  return corrupt('there are keys without a schema for them: evicted, or of another program')
end
-- Allowed when memory is full, and so is what follows.
redis.call('HDEL', schema, 'requests')
redis.call('HSETNX', schema, 'keys', '0')
redis.call('HSET', schema, 'version', VERSION, 'requests', '0', 'legacy', '0')
return 'done'
