-- Returns the watermarks: of each its time, a colon and its subject; and then its value.
local problem = unusable() or missing('a watermark', {{'HLEN', watermarks, 'watermarks'}})
if problem then
  return problem
end
return redis.call('HGETALL', watermarks)
