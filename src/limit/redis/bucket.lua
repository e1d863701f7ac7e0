-- Goes before every script of the limiter, after a clock.
--
-- The only key is a bucket: a hash with a field for each limit, named like it: `<owed> <at>`, what
-- was owed (nanoseconds) at what time (microseconds). It expires when all is paid off. Numbers are
-- whole and at most 2^53, so that Lua's doubles are exact; nanoseconds since 1970 would not be.
local bucket, now = KEYS[1], clock()

-- The limits whose names are in ARGV, each `step` further than the one before, and what is owed to
-- each of them by now. And whether the clock was set back: what was owed then is owed now.
-- Or nothing and an error.
local function read(first, step)
  local names, owed, is_early = {}, {}, false
  for place = first, #ARGV, step do
    names[#names + 1] = ARGV[place]
  end
  for place, stored in ipairs(redis.call('HMGET', bucket, unpack(names))) do
    owed[place] = 0
    if stored then
      local debt, at = string.match(stored, '^(%d+) (%d+)$')
      if not debt then
        return nil, {err = 'CORRUPT a limit is not as the limiter writes it'}
      end
      debt, at = tonumber(debt), tonumber(at)
      is_early = is_early or at > now
      owed[place] = math.max(debt - math.max(now - at, 0) * 1000, 0)
    end
  end
  return names, owed, is_early
end

-- No limit has this name.
local LEASES = ':lease'

-- The longest of the leases that may not have ended (nanoseconds), and when all of them have.
local function leases()
  local longest, over = string.match(redis.call('HGET', bucket, LEASES) or '0 0', '^(%d+) (%d+)$')
  longest, over = tonumber(longest), tonumber(over)
  if not longest or over < now then
    return 0, 0
  end
  return longest, over
end

-- Writes the debts. Other limits may be in the bucket, which must not expire too soon for them.
local function write(names, owed)
  local fields, longest = {}, 0
  for place, name in ipairs(names) do
    fields[place * 2 - 1] = name
    fields[place * 2] = string.format('%.0f %.0f', owed[place], now)
    longest = math.max(longest, owed[place])
  end
  redis.call('HSET', bucket, unpack(fields))
  forget(bucket, math.ceil(longest / 1000000) + 1)
end

