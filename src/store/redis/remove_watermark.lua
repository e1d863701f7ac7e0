-- ARGV: the time of a watermark, a colon and its subject
local problem = unusable() or missing('a watermark', {{'HLEN', watermarks, 'watermarks'}})
if problem then
  return problem
end
-- Allowed when memory is full, and so is what follows.
if redis.call('HDEL', watermarks, ARGV[1]) == 1 then
  redis.call('HINCRBY', schema, 'watermarks', -1)
end
return 'done'
