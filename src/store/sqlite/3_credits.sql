-- What limits keys, and where they were last used from.
ALTER TABLE "api_keys" ADD COLUMN limits TEXT NOT NULL DEFAULT '[]';
ALTER TABLE "api_keys" ADD COLUMN credits INTEGER;
ALTER TABLE "api_keys" ADD COLUMN last_used_from TEXT;

-- The balance of each lineage that spends credits, by its first key. The column
-- `line` is the lineage here, in the usage and in the requests: see src/store/redis/common.lua.
CREATE TABLE "api_keys_credits" (
    line BLOB NOT NULL PRIMARY KEY CHECK (length(line) = 16),
    remaining INTEGER NOT NULL,
    refill TEXT,
    since INTEGER NOT NULL,
    next_refill_at INTEGER,
    epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
