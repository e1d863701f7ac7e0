-- What was done to a lineage by a request that named itself, so that it is done once: no key
-- is deleted with it, and no event.
CREATE TABLE IF NOT EXISTS `api_keys_requests` (
    line BINARY(16) NOT NULL,
    request BINARY(32) NOT NULL,
    at BIGINT NOT NULL,
    act VARCHAR(32) NOT NULL,
    key_id BINARY(16) NOT NULL,
    amount BIGINT NOT NULL,
    actor VARCHAR(255),
    result LONGTEXT NOT NULL,
    PRIMARY KEY (line, request),
    KEY api_keys_requests_at (at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which period of a balance was granted last.
-- The last statement, since it is the one that cannot be made again.
ALTER TABLE `api_keys_credits` ADD COLUMN granted BIGINT;
