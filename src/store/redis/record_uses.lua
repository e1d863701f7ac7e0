-- ARGV: lines of id, count, time, and address or `-`. One argument, since Redis takes a million at
-- most.
local problem = unusable(true)
if problem then
  return problem
end

-- The time, or nil, and the address, or nothing.
local function last_use(text)
  local time, address = string.match(text or '', '^(%S*) ?(%S*)$')
  return tonumber(time or ''), address or ''
end

for id, count, at, from in string.gmatch(ARGV[1], '(%S+) (%S+) (%S+) (%S+)') do
  if redis.call('HEXISTS', keys, id) == 1 then
    -- Redis counts in 64 bits and refuses to overflow.
    local added = redis.pcall('HINCRBY', uses, id, count)
    if type(added) == 'table' and added.err then
      if not string.find(added.err, 'overflow') then
        return added
      end
      redis.call('HSET', uses, id, '9223372036854775807')
    end
    local last, address = last_use(redis.call('HGET', last_used, id))
    if not last or last <= tonumber(at) then
      address = from == '-' and address or from
      redis.call('HSET', last_used, id, address == '' and at or at .. ' ' .. address)
    end
  end
end
return 'done'
