-- ARGV: id, expected revision, JSON
local problem = unusable()
if problem then
  return problem
end
local id, expected, json = unpack(ARGV)
local row = redis.call('HGET', keys, id)
if not row then
  return lost() or 'stale'
end
local old = decode(row)
if not old then
  return corrupt('the key ' .. id .. ' is not readable')
end
if old.revision ~= expected then
  return 'stale'
end
local new = cjson.decode(json)
if new.digest ~= old.digest and redis.call('HEXISTS', digests, new.digest) == 1 then
  return 'duplicate'
end
unindex(id, old)
put(id, json, millis(old.created_at))
index(id, new)
return 'done'
