-- What limits keys, and where they were last used from.
ALTER TABLE "api_keys"
    ADD COLUMN limits text NOT NULL DEFAULT '[]',
    ADD COLUMN credits bigint,
    ADD COLUMN last_used_from text;

-- The balance of each lineage that spends credits, by its first key. The column
-- `line` is the lineage here, in the usage and in the requests: see src/store/redis/common.lua.
CREATE TABLE "api_keys_credits" (
    line uuid NOT NULL,
    remaining bigint NOT NULL,
    refill text,
    since bigint NOT NULL,
    next_refill_at bigint,
    epoch bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT "api_keys_credits_line" PRIMARY KEY (line)
);
