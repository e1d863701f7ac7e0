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
if duration == '0' then
  unlock(subject, holder)
  return 'done'
end
if is_locked(subject, holder) then
  return 'locked'
end
-- Allowed when memory is full, and so is what follows.
redis.call('HDEL', schema, lock_field(subject))
redis.call('HSET', schema, lock_field(subject), millis(clock() + duration) .. ' ' .. holder)
return 'done'
