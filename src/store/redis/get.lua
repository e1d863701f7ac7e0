-- ARGV: ids
local problem = unusable()
if problem then
  return problem
end
local found = {}
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', keys, id) == 1 then
    found[#found + 1] = id
  else
    problem = lost()
    if problem then
      return problem
    end
  end
end
return rows(found)
