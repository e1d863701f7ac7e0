-- ARGV: an id, how many keys after it
local problem = unusable() or lost()
if problem then
  return problem
end
return rows(redis.call('ZRANGE', ids, '(' .. ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2]))
