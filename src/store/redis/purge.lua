-- Looks at a few of the keys that ended, the first to end first, and removes those of an owner.
--
-- ARGV: time, how many to look at, the id to go on after or nothing, owner; without one, of all
-- Returns how many it looked at, how many it removed, and the id to go on after.
local problem = unusable() or lost()
if problem then
  return problem
end
-- The balances are purged next, by what `lines` says.
if redis.call('HEXISTS', schema, 'unlined') == 1 then
  return corrupt('the keys were not brought up to date to the end: `migrate` goes on with it')
end
local before, limit, after, owner = unpack(ARGV)
-- From the first again, should the id be gone meanwhile.
local first = (redis.call('ZRANK', ended, after) or -1) + 1
local count = math.min(redis.call('ZCOUNT', ended, '-inf', '(' .. before) - first, limit)
if count <= 0 then
  return {0, 0, after}
end

assert_types()
local gone = {}
local old = redis.call('ZRANGE', ended, first, first + count - 1)
for _, id in ipairs(old) do
  local row = redis.call('HGET', keys, id)
  local key = row and decode(row)
  if not key then
    return corrupt('the key ' .. id .. ' is not readable')
  end
  if not owner or key.owner == owner then
    gone[#gone + 1] = {id = id, key = key}
  else
    after = id
  end
end
for _, row in ipairs(gone) do
  unindex(row.id, row.key)
  for _, hash in ipairs({keys, uses, last_used}) do
    redis.call('HDEL', hash, row.id)
  end
  redis.call('HINCRBY', schema, 'keys', -1)
end
return {#old, #gone, after}
