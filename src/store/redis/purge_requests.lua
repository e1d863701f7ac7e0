-- Removes a few of the requests from before a time that were kept for long enough, and locks that
-- have ended.
--
-- ARGV: time, for how long they are kept at least, how many to remove
-- Returns how many it removed.
local problem = unusable() or lost_acts()
if problem then
  return problem
end
forget_ended_locks()
local before = math.min(tonumber(ARGV[1]), clock() - tonumber(ARGV[2]))
local old = redis.call('ZRANGEBYSCORE', act_times, '-inf', '(' .. millis(before), 'LIMIT', 0, ARGV[3])
redis.call('HLEN', acts)
for _, act in ipairs(old) do
  redis.call('HDEL', acts, act)
  redis.call('ZREM', act_times, act)
  redis.call('HINCRBY', schema, 'acts', -1)
end
return #old
