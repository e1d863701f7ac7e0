-- Keys that were revoked by the time of their creation, for as long as a row of one of them does not say so.
-- The subject is `*` for all keys, or `=` and their owner. It was written at `ended_at`.
CREATE TABLE IF NOT EXISTS `api_keys_watermarks` (
    subject VARBINARY(1100) NOT NULL,
    issued_before BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    reason LONGTEXT,
    PRIMARY KEY (subject, issued_before)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
