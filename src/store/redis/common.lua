-- Goes before every script. They all get the same keys in the same order, whether they need them
-- or not: all of them share a hash tag, so a cluster has them on one node.
--
--   schema     hash: `version` of this layout, and the sizes of `keys`, `requests` and `legacy`
--   keys       hash: id -> the key as JSON, as src/store/redis/record.rs writes it
--   digests    hash: digest in hex -> id
--   uses       hash: id -> use count, where there is one
--   last_used  hash: id -> time of the last use, where there is one
--   ids        sorted set: the ids of keys that are not deleted, in lexicographic order
--   owners     sorted set: the same for keys with an owner, as `<owner in hex>:<id>`
--   ended      sorted set: ids of revoked and deleted keys, by the time when they first were
--   requests   hash: request in hex -> id
--   legacy     sorted set: the same as `ids` for keys with a legacy hash
--
-- Version 1 had neither `requests` nor `legacy`, nor their numbers in `schema`.
--
-- Redis undoes nothing when a script fails: whatever can be wrong is found before the first write.
local schema, keys, digests, uses, last_used, ids, owners, ended, requests, legacy = unpack(KEYS)

local VERSION = '2'

local function corrupt(what)
  return {err = 'CORRUPT ' .. what}
end

-- Says what keeps this script from working on this data, if anything does.
local function unusable()
  local version = redis.call('HGET', schema, 'version')
  if not version then
    return corrupt('there is no schema: the keys were never migrated, or evicted or flushed since')
  elseif version ~= VERSION then
    local known = '; this version of tower-api-key knows version ' .. VERSION
    local remedy = version == '1' and ', and `migrate` makes it that' or ''
    return corrupt('the schema has version ' .. version .. known .. remedy)
  end
end

-- Says what was lost, if anything was. Eviction takes a whole hash and tells nobody; without this
-- check, every key would be unknown all of a sudden, and every request new.
local function lost()
  local counts = redis.call('HMGET', schema, 'keys', 'keys', 'requests', 'legacy')
  local there = {
    redis.call('HLEN', keys), redis.call('HLEN', digests), redis.call('HLEN', requests),
    redis.call('ZCARD', legacy),
  }
  for place, count in ipairs(there) do
    if count ~= tonumber(counts[place]) then
      return corrupt('keys are missing: evicted, or removed by another program')
    end
  end
end

-- The keys with these ids, in three lists: as JSON, use counts, times of last use.
local function rows(wanted)
  if #wanted == 0 then
    return {{}, {}, {}}
  end
  local function column(hash)
    return redis.call('HMGET', hash, unpack(wanted))
  end
  return {column(keys), column(uses), column(last_used)}
end

-- What the scripts read of a key, where it is there.
local TYPES = {
  digest = 'string', revision = 'string', owner = 'string', request = 'string',
  legacy_hash = 'string', created_at = 'number', revoked_at = 'number', deleted_at = 'number',
}

-- A key from its JSON, or nil. Lua's numbers are doubles, which times fit into exactly; counts and
-- revisions stay text.
local function decode(json)
  local good, key = pcall(cjson.decode, json)
  if not good or type(key) ~= 'table' or not key.digest or not key.created_at then
    return nil
  end
  for field, kind in pairs(TYPES) do
    if key[field] ~= nil and type(key[field]) ~= kind then
      return nil
    end
  end
  return key
end

-- Text from a time in milliseconds.
local function millis(time)
  return string.format('%.0f', time)
end

-- Writes a key, with a time of creation that is not in its JSON.
local function put(id, json, created_at)
  redis.call('HSET', keys, id, '{"created_at":' .. created_at .. ',' .. string.sub(json, 2))
end

-- In hex, so that no owner is the beginning of another.
local function owned(id, key)
  local hex = string.gsub(key.owner, '.', function(byte)
    return string.format('%02x', string.byte(byte))
  end)
  return hex .. ':' .. id
end

-- Adds a key to whatever it must be found by.
local function index(id, key)
  redis.call('HSET', digests, key.digest, id)
  if key.request then
    redis.call('HSET', requests, key.request, id)
    redis.call('HINCRBY', schema, 'requests', 1)
  end
  local ended_at = key.revoked_at
  if key.deleted_at and (not ended_at or key.deleted_at < ended_at) then
    ended_at = key.deleted_at
  end
  if ended_at then
    redis.call('ZADD', ended, millis(ended_at), id)
  end
  if key.deleted_at then
    return
  end
  redis.call('ZADD', ids, 0, id)
  if key.owner then
    redis.call('ZADD', owners, 0, owned(id, key))
  end
  if key.legacy_hash then
    redis.call('ZADD', legacy, 0, id)
    redis.call('HINCRBY', schema, 'legacy', 1)
  end
end

-- Undoes `index`. Its first command is allowed when memory is full, and so is what a script does
-- after it: revoking works to the last.
local function unindex(id, key)
  redis.call('HDEL', digests, key.digest)
  redis.call('ZREM', ended, id)
  redis.call('ZREM', ids, id)
  if key.owner then
    redis.call('ZREM', owners, owned(id, key))
  end
  if key.request then
    redis.call('HDEL', requests, key.request)
    redis.call('HINCRBY', schema, 'requests', -1)
  end
  if key.legacy_hash and not key.deleted_at then
    redis.call('ZREM', legacy, id)
    redis.call('HINCRBY', schema, 'legacy', -1)
  end
end
