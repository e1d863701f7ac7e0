-- ARGV: lines of id, count and time. One argument, since Redis takes a million at most.
local problem = unusable()
if problem then
  return problem
end
for id, count, at in string.gmatch(ARGV[1], '(%S+) (%S+) (%S+)') do
  if redis.call('HEXISTS', keys, id) == 1 then
    -- Redis counts in 64 bits and refuses to overflow.
    local added = redis.pcall('HINCRBY', uses, id, count)
    if type(added) == 'table' and added.err then
      if not string.find(added.err, 'overflow') then
        return added
      end
      redis.call('HSET', uses, id, '9223372036854775807')
    end
    local last = tonumber(redis.call('HGET', last_used, id))
    if not last or last < tonumber(at) then
      redis.call('HSET', last_used, id, at)
    end
  end
end
return 'done'
