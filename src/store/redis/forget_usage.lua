-- Removes some of the usage before a time, the oldest first.
--
-- ARGV: time, how much to remove
-- Returns how many counts there were, and 1 if there may be more.
local problem = unusable() or lost_usage()
if problem then
  return problem
end
local before, room = ARGV[1], tonumber(ARGV[2])
local forgotten = 0
while room > 0 do
  local hour =
    redis.call('ZRANGE', usage_hours, '-inf', '(' .. before, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not hour then
    return {forgotten, 0}
  end
  local members = redis.call(
    'ZRANGE', usage_lines, '[' .. hour .. ':', '(' .. hour .. ';', 'BYLEX', 'LIMIT', 0, room)
  for _, member in ipairs(members) do
    local field = hour .. ':' .. string.sub(member, -36)
    local _, count = string.gsub(redis.call('HGET', usage, field) or '', '=', '')
    forgotten = forgotten + count
    -- Allowed when memory is full, and so is what follows.
    redis.call('HDEL', usage, field)
    redis.call('ZREM', usage_lines, member)
    redis.call('HINCRBY', schema, 'usage', -1)
  end
  if #members < room then
    redis.call('ZREM', usage_hours, hour)
    redis.call('HINCRBY', schema, 'usage_hours', -1)
  end
  room = room - #members
end
return {forgotten, 1}
