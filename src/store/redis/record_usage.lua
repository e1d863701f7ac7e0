-- ARGV: lines of hour, lineage, owner as in `usage_lines`, outcome and count. One argument, since
-- Redis takes a million at most.
local problem = unusable(true) or lost_usage()
if problem then
  return problem
end

-- Counts have 64 bits with a sign, as Redis itself counts, and stay there. Lua's numbers are
-- doubles, so that it takes two of them to add without a loss.
local MOST, HALF = '9223372036854775807', 1e9

local function halves(count)
  return tonumber(string.sub(count, 1, -10)) or 0, tonumber(string.sub(count, -9))
end

local function sum(one, other)
  local high, low = halves(one)
  local more_high, more_low = halves(other)
  high, low = high + more_high, low + more_low
  if low >= HALF then
    high, low = high + 1, low - HALF
  end
  local most_high, most_low = halves(MOST)
  if high > most_high or high == most_high and low > most_low then
    return MOST
  end
  return high > 0 and string.format('%.0f%09.0f', high, low) or string.format('%.0f', low)
end

-- Counts by outcome from what is in `usage`, or nil.
local function counts(text)
  local by_outcome = {}
  for part in string.gmatch(text, '%S+') do
    local outcome, count = string.match(part, '^([a-z_]+)=(%d+)$')
    if not outcome then
      return nil
    end
    by_outcome[outcome] = count
  end
  return by_outcome
end

-- First everything is read and added up, and then written.
local entries = {}
for hour, lineage, owner, outcome, count in string.gmatch(ARGV[1], '(%S+) (%S+) (%S+) (%S+) (%S+)') do
  local field = hour .. ':' .. lineage
  local entry = entries[field]
  if not entry then
    local old = redis.call('HGET', usage, field)
    local member = hour .. ':' .. owner .. ':' .. lineage
    entry = {hour = hour, member = member, is_new = not old, counts = counts(old or '')}
    if not entry.counts then
      return corrupt('the usage of ' .. field .. ' is not readable')
    end
    entries[field] = entry
  end
  entry.counts[outcome] = sum(entry.counts[outcome] or '0', count)
end

-- The first write fails when memory is full.
for field, entry in pairs(entries) do
  local parts = {}
  for outcome, count in pairs(entry.counts) do
    parts[#parts + 1] = outcome .. '=' .. count
  end
  redis.call('HSET', usage, field, table.concat(parts, ' '))
  if entry.is_new then
    redis.call('ZADD', usage_lines, 0, entry.member)
    redis.call('HINCRBY', schema, 'usage', 1)
    if redis.call('ZADD', usage_hours, entry.hour, entry.hour) == 1 then
      redis.call('HINCRBY', schema, 'usage_hours', 1)
    end
  end
end
return 'done'
