-- ARGV: id, JSON, created_at, use count, last use or nothing
local problem = unusable() or lost()
if problem then
  return problem
end
local id, json, created_at, count, last = unpack(ARGV)
local key = cjson.decode(json)
if redis.call('HEXISTS', keys, id) == 1 or redis.call('HEXISTS', digests, key.digest) == 1 then
  return 'duplicate'
end
-- The first write, which fails when memory is full.
put(id, json, created_at)
redis.call('HINCRBY', schema, 'keys', 1)
index(id, key)
if count ~= '0' then
  redis.call('HSET', uses, id, count)
end
if last ~= '' then
  redis.call('HSET', last_used, id, last)
end
return 'done'
