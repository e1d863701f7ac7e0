-- Looks at a few keys, in the order of their ids, for those that a watermark covers and whose rows do not
-- say so.
--
-- ARGV: the time of the watermark, its owner in hex or `*`, the id to go on after or nothing, how many to
--       look at
-- Returns how many it looked at, the id to go on after, and the ids and revisions of those that it found.
local problem = unusable()
if problem then
  return problem
end
local before, owner, after, limit = unpack(ARGV)
before = tonumber(before)
local set, group, to = ids, '', '+'
if owner ~= '*' then
  set, group, to = owners, owner .. ':', '(' .. owner .. ';'
end
local from = after == '' and (group == '' and '-' or '[' .. group) or '(' .. group .. after
local members = redis.call('ZRANGE', set, from, to, 'BYLEX', 'LIMIT', 0, limit)
local found, revisions = {}, {}
for _, member in ipairs(members) do
  local id = string.sub(member, -36)
  after = id
  -- Those that were revoked need not be read.
  if not redis.call('ZSCORE', ended, id) then
    local row = redis.call('HGET', keys, id)
    local key = row and decode(row)
    -- One that is not readable is refused as it is.
    if key and key.created_at < before then
      found[#found + 1] = id
      revisions[#revisions + 1] = key.revision
    end
  end
end
return {#members, after, found, revisions}
