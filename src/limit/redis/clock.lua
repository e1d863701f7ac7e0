-- All that has to do with the server's own time. Tests of the arithmetic say what time it is, and
-- have something else in this place.

-- Microseconds since the Unix epoch. It is the same clock for all nodes.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Forgets a key after so many milliseconds, if not later.
local function forget(key, after)
  if redis.call('PTTL', key) < after then
    redis.call('PEXPIRE', key, string.format('%.0f', after))
  end
end

