-- Begins an empty schema, brings an old one up to date, or checks the one that is there.
--
-- Returns `more` as long as it has to be called again.
-- Old versions, and the first of the keys that they did not have.
local OLD = {['1'] = 9, ['2'] = 11, ['3'] = 16, ['4'] = 18}
local BATCH = 250

local version = redis.call('HGET', schema, 'version')
if version and not OLD[version] then
  local problem = unusable()
  if problem then
    return problem
  end
else
  -- A Redis key that is to be new must not be there.
  local from = version and OLD[version] or 1
  if redis.call('EXISTS', unpack(KEYS, from)) > 0 then
    return corrupt('there are keys without a schema for them: evicted, or of another program')
  end
  if version then
    -- Read before the first write, in case they are of another type.
    redis.call('HLEN', keys)
  end
  -- Allowed when memory is full, and so is what follows.
  redis.call('HDEL', schema, 'watermarks')
  for _, count in ipairs({'keys', 'requests', 'legacy'}) do
    redis.call('HSETNX', schema, count, '0')
  end
  -- Versions 3 and 4 knew lineages, and may not have been through with them.
  local unlined = (version == '1' or version == '2') and '0'
  if version ~= '3' and version ~= '4' then
    redis.call('HDEL', schema, 'unlined')
    for _, count in ipairs({'balances', 'lines', 'usage', 'usage_hours'}) do
      redis.call('HSET', schema, count, '0')
    end
  end
  redis.call('HSETNX', schema, 'acts', '0')
  redis.call('HSET', schema, 'watermarks', '0')
  redis.call('HSET', schema, 'version', VERSION)
  if unlined then
    redis.call('HSET', schema, 'unlined', unlined)
  end
end

-- Old keys are looked at a few at a time, since nothing else happens meanwhile. What writes a key
-- meanwhile adds it to its lineage, and programs of an older version write no more.
local cursor = redis.call('HGET', schema, 'unlined')
if not cursor then
  return 'done'
end
local scanned = redis.call('HSCAN', keys, cursor, 'COUNT', BATCH)
redis.call('ZCARD', lines)
redis.call('HDEL', schema, 'unlined')
local rows = scanned[2]
for place = 1, #rows, 2 do
  -- Most keys are the first of their lineage. An unreadable one is left to the caller that reads it.
  local key = string.find(rows[place + 1], '"lineage":', 1, true) and decode(rows[place + 1])
  if key then
    join(rows[place], key)
  end
end
if scanned[1] == '0' then
  return 'done'
end
redis.call('HSET', schema, 'unlined', scanned[1])
return 'more'
