-- ARGV: `ids`, `owners` or `legacy`, the bounds of the range from its end to its start, how many
local problem = unusable() or ARGV[1] == 'legacy' and lost()
if problem then
  return problem
end
local set = ({ids = ids, owners = owners, legacy = legacy})[ARGV[1]]
local members =
  redis.call('ZRANGE', set, ARGV[2], ARGV[3], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[4])
for place, member in ipairs(members) do
  members[place] = string.sub(member, -36)
end
return rows(members)
