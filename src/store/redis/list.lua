-- ARGV: `ids` or `owners`, the bounds of the range from its end to its start, how many
local problem = unusable()
if problem then
  return problem
end
local set = ARGV[1] == 'owners' and owners or ids
local members =
  redis.call('ZRANGE', set, ARGV[2], ARGV[3], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[4])
for place, member in ipairs(members) do
  members[place] = string.sub(member, -36)
end
return rows(members)
