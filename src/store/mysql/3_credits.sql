-- What limits keys, and where they were last used from.
-- The balance of each lineage that spends credits, by its first key. The column
-- `line` is the lineage here, in the usage and in the requests: see src/store/redis/common.lua.
CREATE TABLE IF NOT EXISTS `api_keys_credits` (
    line BINARY(16) NOT NULL PRIMARY KEY,
    remaining BIGINT NOT NULL,
    refill LONGTEXT,
    since BIGINT NOT NULL,
    next_refill_at BIGINT,
    epoch BIGINT NOT NULL,
    revision BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The last statement, since it is the one that cannot be made again.
ALTER TABLE `api_keys`
    ADD COLUMN limits LONGTEXT NOT NULL DEFAULT ('[]'),
    ADD COLUMN credits BIGINT,
    ADD COLUMN last_used_from VARCHAR(64);
