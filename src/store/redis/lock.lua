-- Takes the lock, or gives it back: as long as it is held, only its holder adds or replaces keys of
-- an owner, or any keys. It ends by itself, in case its holder does not live to give it back.
--
-- ARGV: a name that nobody else has, whose keys: an owner in hex or `*`, for how many milliseconds,
--       or 0 to give it back
local problem = unusable()
if problem then
  return problem
end
local holder, whose, duration = unpack(ARGV)
if locked_by_another(holder) then
  return 'locked'
end
-- Allowed when memory is full, and so is what follows.
redis.call('HDEL', schema, 'lock')
if duration ~= '0' then
  redis.call('HSET', schema, 'lock', millis(clock() + duration) .. ' ' .. holder .. ' ' .. whose)
end
return 'done'
