-- ARGV: time, how many at most
local problem = unusable()
if problem then
  return problem
end
local old =
  redis.call('ZRANGE', ended, '-inf', '(' .. ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
local purged = {}
for place, id in ipairs(old) do
  local row = redis.call('HGET', keys, id)
  local key = row and decode(row)
  if not key then
    return corrupt('the key ' .. id .. ' is not readable')
  end
  purged[place] = key
end
for place, id in ipairs(old) do
  unindex(id, purged[place])
  for _, hash in ipairs({keys, uses, last_used}) do
    redis.call('HDEL', hash, id)
  end
end
redis.call('HINCRBY', schema, 'keys', 0 - #old)
return #old
