-- Takes a lock, or gives it back: as long as it is held, only its holder adds or replaces keys of an
-- owner, or any keys. It ends by itself, in case its holder does not live to give it back.
--
-- ARGV: a name that no other holder has, the owner in hex or `*`, for how many milliseconds, or 0 to
--       give it back
local problem = unusable()
if problem then
  return problem
end
local holder, subject, duration = unpack(ARGV)
local field = lock_field(subject)
if duration == '0' then
  if lock_holder(subject) == holder then
    redis.call('HDEL', schema, field)
  end
  return 'done'
end
if is_locked(subject, holder) then
  return 'locked'
end
-- Allowed when memory is full, and so is what follows.
redis.call('HDEL', schema, field)
-- Locks of holders that did not live to give them back.
if subject == '*' then
  for _, other in ipairs(redis.call('HKEYS', schema)) do
    local owner = string.match(other, '^lock:(.*)$')
    if owner and not lock_holder(owner) then
      redis.call('HDEL', schema, other)
    end
  end
end
redis.call('HSET', schema, field, millis(clock() + duration) .. ' ' .. holder)
return 'done'
