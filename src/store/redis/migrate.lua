-- Begins an empty schema, or checks the one that is there.
if redis.call('EXISTS', schema) == 1 then
  return unusable() or 'done'
end
if redis.call('EXISTS', keys, digests, uses, last_used, ids, owners, ended) > 0 then
  return corrupt('there are keys without a schema: it was evicted, or another program has this prefix')
end
redis.call('HSET', schema, 'version', '1', 'keys', '0')
return 'done'
