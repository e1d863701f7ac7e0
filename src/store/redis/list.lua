-- ARGV: `ids`, `owners`, `legacy` or `lines`, the bounds of the range from its end to its start, how
--       many
local problem = unusable() or (ARGV[1] == 'legacy' or ARGV[1] == 'lines') and lost()
if problem then
  return problem
end
if ARGV[1] == 'lines' and redis.call('HEXISTS', schema, 'unlined') == 1 then
  return corrupt('the keys were not brought up to date to the end: `migrate` goes on with it')
end
local set = ({ids = ids, owners = owners, legacy = legacy, lines = lines})[ARGV[1]]
local members =
  redis.call('ZRANGE', set, ARGV[2], ARGV[3], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[4])
for place, member in ipairs(members) do
  members[place] = string.sub(member, -36)
end
return rows(members)
