-- Adds and replaces any number of keys and balances, and adds requests; or none of them.
--
-- ARGV: how many live keys an owner may have afterwards, at which time, and the owner, or three
--       times nothing; `owners` or `ids`, the owner or nothing, the time before which keys were
--       created or nothing, and the ids of all such keys, or four times nothing; the
--       holder of the lock, to give it back, or nothing; of a watermark its time, `*` or `=` and the
--       owner, and the reason, or three times nothing; how many keys there are to add; of each its id, JSON,
--       created_at, use count, last use or nothing; how many to replace; of each its id, JSON,
--       expected revision; how many balances; of each its lineage, JSON, expected revision or nothing
--       if there must be none, and the time when it is due or nothing; then of each request its
--       lineage, a colon and the request in hex, and JSON
local problem = unusable(true)
if problem then
  return problem
end

local inserts, updates, added, replaced, new_acts = {}, {}, {}, {}, {}
local max_keys, live_at, owner = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local holder = ARGV[8]
local mark = ARGV[10] ~= '' and {before = ARGV[9], subject = ARGV[10], reason = ARGV[11]}
local place = 13
for number = 1, tonumber(ARGV[12]) do
  local id, json, created_at, count, last = unpack(ARGV, place, place + 4)
  inserts[number] = {
    id = id, json = json, key = cjson.decode(json),
    created_at = created_at, count = count, last = last,
  }
  place = place + 5
end
local last_update = place + 3 * tonumber(ARGV[place])
place = place + 1
while place < last_update do
  local id, json, expected = unpack(ARGV, place, place + 2)
  updates[#updates + 1] = {id = id, json = json, key = cjson.decode(json), expected = expected}
  place = place + 3
end
local last_balance = place + 4 * tonumber(ARGV[place])
place = place + 1
while place < last_balance do
  local lineage, json, expected, due = unpack(ARGV, place, place + 3)
  local balances_to_write = expected == '' and added or replaced
  balances_to_write[#balances_to_write + 1] =
    {lineage = lineage, json = json, expected = expected, due = tonumber(due)}
  place = place + 4
end
while ARGV[place] do
  new_acts[#new_acts + 1] = {field = ARGV[place], json = ARGV[place + 1]}
  place = place + 2
end

-- The values that may exist once only, as far as these changes take them.
local taken = {[keys] = {}, [digests] = {}, [requests] = {}}

-- Whether a key may have this value: it had it before, or no other has it.
local function is_free(hash, value, before)
  if not value then
    return true
  end
  local is_first = not taken[hash][value]
  taken[hash][value] = true
  return is_first and (value == before or redis.call('HEXISTS', hash, value) == 0)
end

-- Says what becomes of the balances, if they cannot be written.
local function balances_refusal()
  for _, new in ipairs(added) do
    if redis.call('HEXISTS', balances, new.lineage) == 1 then
      return 'stale'
    end
  end
  for _, new in ipairs(replaced) do
    local row = redis.call('HGET', balances, new.lineage)
    if not row then
      return lost() or 'stale'
    end
    local old = parse(row)
    if not old or type(old.revision) ~= 'string' then
      return corrupt('the balance of ' .. new.lineage .. ' is not readable')
    elseif old.revision ~= new.expected or new.due and new.due > clock() then
      return 'stale'
    end
  end
end

-- The subject of the lock of an owner.
local function lock_subject(owner)
  return owner and string.sub(owned('', {owner = owner}), 1, -2) or '*'
end

-- Says that another node is about to change some of these keys together with all others of an owner.
local function lock_refusal()
  local free = {}
  for _, list in ipairs({inserts, updates}) do
    for _, new in ipairs(list) do
      local owner = new.key.owner or ''
      if not free[owner] and is_locked(lock_subject(new.key.owner), holder) then
        return 'locked'
      end
      free[owner] = true
    end
  end
end

-- The bounds of what `owners` has of an owner. `;` comes right after `:`.
local function bounds_of(name)
  local group = owned('', {owner = name})
  return '[' .. group, '(' .. string.sub(group, 1, -2) .. ';'
end

-- Says that there is a selected key that the changes were made without, if that is so.
local function selection_refusal()
  local index, name, before, known_ids = unpack(ARGV, 4, 7)
  if index == '' then
    return nil
  end
  before = tonumber(before)
  local known = {}
  for id in string.gmatch(known_ids, '%S+') do
    known[id] = true
  end
  local set, from, to = ids, '-', '+'
  if index == 'owners' then
    set = owners
    from, to = bounds_of(name)
  end
  repeat
    local members = redis.call('ZRANGE', set, from, to, 'BYLEX', 'LIMIT', 0, 250)
    for _, member in ipairs(members) do
      local id = string.sub(member, -36)
      if not known[id] then
        local row = redis.call('HGET', keys, id)
        local key = row and decode(row)
        if not key then
          return corrupt('the key ' .. id .. ' is missing or not readable')
        elseif not before or key.created_at < before then
          return 'stale'
        end
      end
    end
    from = '(' .. (members[#members] or '')
  until #members < 250
end

-- How many keys of an owner may have expired without having been revoked or deleted. With more of
-- them, the owner gets no other key: each is read to be told from a live one, and Redis does
-- nothing else meanwhile.
local MAX_EXPIRED = 1000

-- Says that the owner would have more live keys than it may have, if that is so.
local function owner_refusal()
  local function is_over(time)
    return time and time <= live_at
  end
  local function counts(key)
    return key.owner == owner and not key.deleted_at and not key.revoked_at
      and not is_over(key.expires_at) and not is_over(key.retires_at)
  end
  local marks = current_marks()
  if marks.err then
    return marks
  end
  local live, expired, updated = 0, 0, {}
  for _, list in ipairs({inserts, updates}) do
    for _, new in ipairs(list) do
      updated[new.id] = true
      live = live + (counts(new.key) and 1 or 0)
    end
  end
  local from, to = bounds_of(owner)
  repeat
    local members = redis.call('ZRANGE', owners, from, to, 'BYLEX', 'LIMIT', 0, 250)
    for _, member in ipairs(members) do
      local id = string.sub(member, -36)
      -- Those that were revoked need not be read.
      if not updated[id] and not redis.call('ZSCORE', ended, id) then
        local row = redis.call('HGET', keys, id)
        local key = row and decode(row)
        if not key then
          return corrupt('the key ' .. id .. ' is missing or not readable')
        end
        if not ended_by(marks, key) then
          live = live + (counts(key) and 1 or 0)
          expired = expired + (counts(key) and 0 or 1)
        end
        if live > max_keys or expired > MAX_EXPIRED then
          return 'too many keys'
        end
      end
    end
    from = '(' .. (members[#members] or '')
  until #members < 250
  return live > max_keys and 'too many keys' or nil
end

-- Says what becomes of the requests, if one of them was done already.
local function requests_refusal()
  local problem = #new_acts > 0 and lost_acts()
  if problem then
    return problem
  end
  local seen = {}
  for _, act in ipairs(new_acts) do
    if seen[act.field] or redis.call('HEXISTS', acts, act.field) == 1 then
      return 'stale'
    end
    seen[act.field] = true
  end
end

-- Says what becomes of the changes, if they cannot be made.
local function refusal()
  assert_types()
  local locked = lock_refusal()
  if locked then
    return locked
  end
  local incomplete = #inserts + #added > 0 and lost()
  if incomplete then
    return incomplete
  end
  for _, new in ipairs(inserts) do
    if not (is_free(keys, new.id) and is_free(digests, new.key.digest)
      and is_free(requests, new.key.request)) then
      return 'duplicate'
    end
  end
  local incomplete_selection = selection_refusal()
  if incomplete_selection then
    return incomplete_selection
  end
  local marks = current_marks()
  if marks.err then
    return marks
  end
  for _, new in ipairs(updates) do
    local row = redis.call('HGET', keys, new.id)
    if not row then
      return lost() or 'stale'
    end
    new.old = decode(row)
    if not new.old then
      return corrupt('the key ' .. new.id .. ' is not readable')
    elseif new.old.revision ~= new.expected
      or not new.key.revoked_at and ended_by(marks, new.old) then
      return 'stale'
    end
  end
  local unwritable = balances_refusal() or requests_refusal()
  if unwritable then
    return unwritable
  end
  for _, new in ipairs(updates) do
    if not (is_free(keys, new.id, new.id) and is_free(digests, new.key.digest, new.old.digest)
      and is_free(requests, new.key.request, new.old.request)) then
      return 'duplicate'
    end
  end
  if mark and tonumber(mark.before) > clock() then
    return 'stale'
  end
  return max_keys and owner_refusal()
end

local refused = refusal()
if refused then
  return refused
end
-- The first write. To add a key or a balance it fails when memory is full; to replace one, it does
-- not: what must stop working stops, and credits that were bought are given out.
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
for _, new in ipairs(added) do
  if redis.call('HSET', balances, new.lineage, new.json) == 1 then
    redis.call('HINCRBY', schema, 'balances', 1)
  end
end
for _, new in ipairs(updates) do
  unindex(new.id, new.old)
  put(new.id, new.json, millis(new.old.created_at))
  index(new.id, new.key)
end
for _, new in ipairs(replaced) do
  redis.call('HDEL', balances, new.lineage)
  redis.call('HSET', balances, new.lineage, new.json)
end
for _, act in ipairs(new_acts) do
  local now = millis(clock())
  redis.call('HSET', acts, act.field, '{"at":' .. now .. ',' .. string.sub(act.json, 2))
  redis.call('ZADD', act_times, now, act.field)
  redis.call('HINCRBY', schema, 'acts', 1)
end
if mark then
  local field = mark.before .. ':' .. mark.subject
  -- Allowed when memory is full, and so is what follows.
  redis.call('HDEL', schema, '')
  local value = millis(clock()) .. (mark.reason ~= '' and ' ' .. mark.reason or '')
  redis.call('HINCRBY', schema, 'watermarks', redis.call('HSETNX', watermarks, field, value))
end
if holder ~= '' then
  unlock(lock_subject(ARGV[4] == 'owners' and ARGV[5] or nil), holder)
end
return 'done'
