-- ARGV: the hour to begin at, as a bound of a range; the member of `usage_lines` to go on after, or
--       nothing; the time to end before; how much to read; an owner as in `usage_lines`, and a
--       lineage, or nothing
-- Returns the first two for the next time, or nothing when this was all, and hours, lineages and what
-- is in `usage` of them.
local problem = unusable() or lost_usage()
if problem then
  return problem
end
local since, after, before, limit, owner, lineage = unpack(ARGV)
local hours =
  redis.call('ZRANGE', usage_hours, since, '(' .. before, 'BYSCORE', 'LIMIT', 0, limit)
local found_hours, found_lineages, fields = {}, {}, {}

local function find(hour, found_lineage)
  found_hours[#found_hours + 1] = hour
  found_lineages[#found_lineages + 1] = found_lineage
  fields[#fields + 1] = hour .. ':' .. found_lineage
end

-- Of one lineage: whatever there may be of it, since no other lineage is in between.
if lineage ~= '' then
  for _, hour in ipairs(hours) do
    local member = hour .. ':' .. owner .. ':' .. lineage
    if owner == '' or redis.call('ZSCORE', usage_lines, member) then
      find(hour, lineage)
    end
  end
  local is_end = #hours < tonumber(limit)
  local values = #fields > 0 and redis.call('HMGET', usage, unpack(fields)) or {}
  return {is_end and '' or '(' .. hours[#hours], '', found_hours, found_lineages, values}
end

-- Of many: hour by hour what there is. An hour without any is work as well.
local room, next_hour, next_member = tonumber(limit), '', ''
for _, hour in ipairs(hours) do
  local group = hour .. ':' .. (owner ~= '' and owner .. ':' or '')
  local from = hour == since and after ~= '' and '(' .. after or '[' .. group
  -- `;` comes right after `:`, so the range ends where the group does.
  local to = '(' .. string.sub(group, 1, -2) .. ';'
  local members = redis.call('ZRANGE', usage_lines, from, to, 'BYLEX', 'LIMIT', 0, room)
  for _, member in ipairs(members) do
    find(hour, string.sub(member, -36))
  end
  if #members == room then
    next_hour, next_member = hour, members[room]
    break
  end
  room = room - math.max(#members, 1)
  if room == 0 then
    next_hour = '(' .. hour
    break
  end
end
local values = #fields > 0 and redis.call('HMGET', usage, unpack(fields)) or {}
for place = 1, #fields do
  if not values[place] then
    return corrupt('the usage of ' .. fields[place] .. ' is missing')
  end
end
return {next_hour, next_member, found_hours, found_lineages, values}
