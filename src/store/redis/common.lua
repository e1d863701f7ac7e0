-- Goes before every script. They all get the same keys in the same order, whether they need them
-- or not: all of them share a hash tag, so a cluster has them on one node.
--
--   schema       hash: `version` of this layout, the sizes of `keys`, `requests`, `legacy`,
--                `balances`, `lines`, `usage`, `usage_hours`, `acts` and `watermarks`, and `unlined`
--                as long as `migrate` has not put all keys into `lines`: where in `keys` it goes on;
--                and `identity`, which tells the store from others on a bus, once it was asked for
--                For a moment, `lock:` and an owner in hex, or `*`: when this lock ends, and its
--                holder, which alone adds or replaces keys of this owner, or any keys, until then
--   keys         hash: id -> the key as JSON, as src/store/redis/record.rs writes it
--   digests      hash: digest in hex -> id
--   uses         hash: id -> use count, where there is one
--   last_used    hash: id -> time of the last use, a space and the address that it came from;
--                either may be left out, the space with the address
--   ids          sorted set: the ids of keys that are not deleted, in lexicographic order
--   owners       sorted set: the same for keys with an owner, as `<owner in hex>:<id>`
--   ended        sorted set: ids of revoked and deleted keys, by the time when they first were
--   requests     hash: request in hex -> id
--   legacy       sorted set: the same as `ids` for keys with a legacy hash
--   balances     hash: lineage -> its balance as JSON, as src/store/redis/balance.rs writes it
--   lines        sorted set: the keys that are not the first of their lineage, as `<lineage>:<id>`, in
--                lexicographic order
--   usage        hash: `<hour>:<lineage>` -> counts as `<outcome>=<count>`, with spaces between them
--   usage_hours  sorted set: the hours that there are counts of, by the time when they began
--   usage_lines  sorted set: whose counts they are, as `<hour>:<owner>:<lineage>`, in lexicographic
--                order; the owner is `=` and the name in hex, or `-` where there is none
--   acts         hash: `<lineage>:<request in hex>` -> what that request has done, as JSON, as
--                src/store/redis/request.rs writes it
--   act_times    sorted set: the same, by the time when it was done
--   watermarks   hash: `<time>:*`, or `<time>:=` and an owner -> when all keys of theirs that were
--                created before that time were revoked, and behind a space the reason, if there is one
--
-- What is named `lines` here, as a column of the SQL stores is named `line`, has lineages: the names
-- are older than the word, and others would need a migration.
--
-- Version 1 had neither `requests` nor `legacy`, version 2 nothing that comes after them, version 3
-- neither `acts` nor `act_times`, and version 4 no `watermarks`.
--
-- Redis undoes nothing when a script fails: whatever can be wrong is found before the first write.
local schema, keys, digests, uses, last_used, ids, owners, ended, requests, legacy, balances, lines,
  usage, usage_hours, usage_lines, acts, act_times, watermarks = unpack(KEYS)

local VERSION = '5'

local function corrupt(what)
  return {err = 'CORRUPT ' .. what}
end

-- Says what keeps this script from working on this data, if anything does.
--
-- A script that writes what takes memory says so: a replica refuses that write, and after an earlier
-- one Redis would no longer refuse it when memory is full.
local function unusable(takes_memory)
  -- Replicas answer scripts that only read, from a past in which a key may not be revoked yet. They
  -- refuse a write, also one like this, which changes nothing anywhere. Other reasons not to write
  -- are none not to read.
  local written = not takes_memory and redis.pcall('HDEL', schema, '')
  if type(written) == 'table' and written.err and written.err:find('READONLY', 1, true) then
    return {err = 'READONLY this server is a replica'}
  end
  local version = redis.call('HGET', schema, 'version')
  if not version then
    return corrupt('there is no schema: the keys were never migrated, or evicted or flushed since')
  elseif version ~= VERSION then
    local known = '; this version of tower-api-key knows version ' .. VERSION
    local remedy = tonumber(version) and tonumber(version) < tonumber(VERSION)
      and ', and `migrate` makes it that' or ''
    return corrupt('the schema has version ' .. version .. known .. remedy)
  end
end

-- Says what was lost, if anything was. Eviction takes a whole hash and reports nothing; without
-- this check, every key would be unknown all of a sudden, every request new, and every balance
-- gone.
-- Of each place: the command that tells its size, its name, and the field of `schema`.
local function missing(what, places)
  for _, place in ipairs(places) do
    local size = redis.call(place[1], place[2])
    if size ~= tonumber(redis.call('HGET', schema, place[3])) then
      return corrupt(what .. ' is missing: evicted, or removed by another program')
    end
  end
end

local function lost()
  return missing('a part of the keys', {
    {'HLEN', keys, 'keys'}, {'HLEN', digests, 'keys'}, {'HLEN', requests, 'requests'},
    {'ZCARD', legacy, 'legacy'}, {'HLEN', balances, 'balances'}, {'ZCARD', lines, 'lines'},
  })
end

local function lost_usage()
  return missing('a part of the usage', {
    {'HLEN', usage, 'usage'}, {'ZCARD', usage_lines, 'usage'},
    {'ZCARD', usage_hours, 'usage_hours'},
  })
end

local function lost_acts()
  return missing('a part of the requests', {
    {'HLEN', acts, 'acts'}, {'ZCARD', act_times, 'acts'},
  })
end

-- A hash or set that is written without being read before must be of the right type, or it would be
-- an error too late.
local function assert_types()
  for _, hash in ipairs({keys, digests, uses, last_used, requests, balances, acts, watermarks}) do
    redis.call('HLEN', hash)
  end
  for _, set in ipairs({ids, owners, ended, legacy, lines, act_times}) do
    redis.call('ZCARD', set)
  end
end

-- The fields of a key that the scripts read, where they are there.
local TYPES = {
  digest = 'string', revision = 'string', owner = 'string', request = 'string',
  legacy_hash = 'string', lineage = 'string', created_at = 'number', revoked_at = 'number',
  deleted_at = 'number', expires_at = 'number', retires_at = 'number',
}

-- A table from its JSON, or nil. Lua's numbers are doubles, which times fit into exactly; counts
-- and revisions stay text.
local function parse(json)
  local good, value = pcall(cjson.decode, json)
  return good and type(value) == 'table' and value or nil
end

-- A key from its JSON, or nil.
local function decode(json)
  local key = parse(json)
  if not key or not key.digest or not key.created_at then
    return nil
  end
  for field, kind in pairs(TYPES) do
    if key[field] ~= nil and type(key[field]) ~= kind then
      return nil
    end
  end
  return key
end

-- The time in milliseconds by the clock of this server, which is the same for all nodes.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Text from a time in milliseconds.
local function millis(time)
  return string.format('%.0f', time)
end

-- The watermarks that stand, or what was lost of them.
local function current_marks()
  if redis.call('HGET', schema, 'watermarks') == '0' then
    return {}
  end
  local problem = missing('a watermark', {{'HLEN', watermarks, 'watermarks'}})
  if problem then
    return problem
  end
  local marks = {}
  local fields = redis.call('HGETALL', watermarks)
  for place = 1, #fields, 2 do
    local before, subject = string.match(fields[place], '^(-?%d+):(.*)$')
    local ended_at = string.match(fields[place + 1], '^-?%d+')
    if not before or not ended_at then
      return corrupt('a watermark is not readable')
    end
    local owner = subject ~= '*' and string.sub(subject, 2) or nil
    marks[#marks + 1] = {before = tonumber(before), owner = owner, ended_at = tonumber(ended_at)}
  end
  return marks
end

-- When a key was revoked by one of these and not by itself, if it was.
local function ended_by(marks, key)
  if key.revoked_at or key.deleted_at then
    return nil
  end
  local ended_at
  for _, mark in ipairs(marks) do
    if key.created_at < mark.before and (not mark.owner or key.owner == mark.owner) then
      ended_at = math.min(ended_at or mark.ended_at, mark.ended_at)
    end
  end
  return ended_at
end

-- The keys with these ids, in three lists: as JSON, use counts, times of last use.
local function rows(wanted)
  if #wanted == 0 then
    return {{}, {}, {}}
  end
  local marks = current_marks()
  if marks.err then
    return marks
  end
  local function column(hash)
    return redis.call('HMGET', hash, unpack(wanted))
  end
  local columns = {column(keys), column(uses), column(last_used)}
  for place = 1, #marks > 0 and #wanted or 0 do
    local row = columns[1][place]
    -- One that is not readable is left to the caller.
    local key = row and decode(row)
    local ended_at = key and ended_by(marks, key)
    if ended_at then
      columns[1][place] = '{"revoked_at":' .. millis(ended_at) .. ',' .. string.sub(row, 2)
    end
  end
  return columns
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

-- Adds a key to its lineage.
local function join(id, key)
  local is_first = not key.lineage or key.lineage == id
  if not is_first and redis.call('ZADD', lines, 0, key.lineage .. ':' .. id) == 1 then
    redis.call('HINCRBY', schema, 'lines', 1)
  end
end

-- Adds a key to whatever it must be found by.
local function index(id, key)
  redis.call('HSET', digests, key.digest, id)
  join(id, key)
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
  -- It may not be in there yet.
  if key.lineage and redis.call('ZREM', lines, key.lineage .. ':' .. id) == 1 then
    redis.call('HINCRBY', schema, 'lines', -1)
  end
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

-- The field of `schema` with the lock of an owner in hex, or of all keys: `*`.
local function lock_field(subject)
  return 'lock:' .. subject
end

-- The latest holder of a lock, and whether it has not ended.
local function lock_holder(subject)
  local lock = redis.call('HGET', schema, lock_field(subject)) or ''
  local ends, holder = string.match(lock, '^(%d+) (%S+)$')
  return holder, ends ~= nil and tonumber(ends) > clock()
end

-- Gives a lock back, unless it has another holder by now.
local function unlock(subject, holder)
  if lock_holder(subject) == holder then
    redis.call('HDEL', schema, lock_field(subject))
  end
end

-- Removes the locks of holders that did not live to give them back.
local function forget_ended_locks()
  for _, field in ipairs(redis.call('HKEYS', schema)) do
    local subject = string.match(field, '^lock:(.*)$')
    if subject then
      local _, is_held = lock_holder(subject)
      if not is_held then
        redis.call('HDEL', schema, field)
      end
    end
  end
end

-- Whether these keys are locked, and not by this holder. A lock of all keys goes before those of
-- owners.
local function is_locked(subject, holder)
  local other, is_held = lock_holder('*')
  if not is_held and subject ~= '*' then
    other, is_held = lock_holder(subject)
  end
  return is_held and other ~= holder
end
