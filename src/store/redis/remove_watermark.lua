-- ARGV: the time of a watermark, a colon and its subject; how many milliseconds it is there at least
-- Returns how many were removed.
local problem = unusable() or missing('a watermark', {{'HLEN', watermarks, 'watermarks'}})
if problem then
  return problem
end
local ended_at = string.match(redis.call('HGET', watermarks, ARGV[1]) or '', '^-?%d+')
if not ended_at or tonumber(ended_at) > clock() - ARGV[2] then
  return 0
end
-- Allowed when memory is full, and so is what follows.
redis.call('HDEL', watermarks, ARGV[1])
redis.call('HINCRBY', schema, 'watermarks', -1)
return 1
