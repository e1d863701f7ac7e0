-- Adds and replaces any number of keys, or none.
--
-- ARGV: how many there are to add; of each its id, JSON, created_at, use count, last use or
--       nothing; then of each to replace its id, JSON, expected revision
local problem = unusable()
if problem then
  return problem
end

local inserts, updates = {}, {}
local place = 2
for number = 1, tonumber(ARGV[1]) do
  local id, json, created_at, count, last = unpack(ARGV, place, place + 4)
  inserts[number] = {
    id = id, json = json, key = cjson.decode(json),
    created_at = created_at, count = count, last = last,
  }
  place = place + 5
end
while ARGV[place] do
  local id, json, expected = unpack(ARGV, place, place + 2)
  updates[#updates + 1] = {id = id, json = json, key = cjson.decode(json), expected = expected}
  place = place + 3
end

-- What there may be once only, as far as these changes take it.
local taken = {[keys] = {}, [digests] = {}, [requests] = {}}

-- Whether this can be had: by a key that had it before, or if nobody has it.
local function is_free(hash, value, before)
  if not value then
    return true
  end
  local is_first = not taken[hash][value]
  taken[hash][value] = true
  return is_first and (value == before or redis.call('HEXISTS', hash, value) == 0)
end

-- Says what becomes of the changes, if they cannot be made.
local function refusal()
  -- Sets are not read before they are written; of another type, they would be an error too late.
  for _, set in ipairs({ids, owners, ended, legacy}) do
    redis.call('ZCARD', set)
  end
  for _, hash in ipairs({uses, last_used}) do
    redis.call('HLEN', hash)
  end
  local missing = #inserts > 0 and lost()
  if missing then
    return missing
  end
  for _, new in ipairs(inserts) do
    if not (is_free(keys, new.id) and is_free(digests, new.key.digest)
      and is_free(requests, new.key.request)) then
      return 'duplicate'
    end
  end
  for _, new in ipairs(updates) do
    local row = redis.call('HGET', keys, new.id)
    if not row then
      return lost() or 'stale'
    end
    new.old = decode(row)
    if not new.old then
      return corrupt('the key ' .. new.id .. ' is not readable')
    elseif new.old.revision ~= new.expected then
      return 'stale'
    end
  end
  for _, new in ipairs(updates) do
    if not (is_free(keys, new.id, new.id) and is_free(digests, new.key.digest, new.old.digest)
      and is_free(requests, new.key.request, new.old.request)) then
      return 'duplicate'
    end
  end
end

local refused = refusal()
if refused then
  return refused
end
-- The first write. To add a key it fails when memory is full; to replace one, it does not.
for _, new in ipairs(inserts) do
  put(new.id, new.json, new.created_at)
  redis.call('HINCRBY', schema, 'keys', 1)
  index(new.id, new.key)
  if new.count ~= '0' then
    redis.call('HSET', uses, new.id, new.count)
  end
  if new.last ~= '' then
    redis.call('HSET', last_used, new.id, new.last)
  end
end
for _, new in ipairs(updates) do
  unindex(new.id, new.old)
  put(new.id, new.json, millis(new.old.created_at))
  index(new.id, new.key)
end
return 'done'
