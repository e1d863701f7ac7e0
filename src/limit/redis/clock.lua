-- What time it is: microseconds since the Unix epoch, by the server's clock, which is the same for
-- all nodes. Tests of the arithmetic have a clock of their own in this place.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

