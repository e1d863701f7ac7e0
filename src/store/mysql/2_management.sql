-- What it takes to rotate keys, to issue and import them by request, and to tell who did what.
-- The audit log. Keys that were purged stay in it.
CREATE TABLE IF NOT EXISTS `api_keys_events` (
    id BINARY(16) NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    action VARCHAR(32) NOT NULL,
    key_id BINARY(16),
    owner VARCHAR(255),
    actor LONGTEXT,
    address VARCHAR(64),
    detail LONGTEXT,
    KEY api_keys_events_key (key_id, id),
    KEY api_keys_events_owner (owner, id),
    KEY api_keys_events_at (at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The last statement, since it is the one that cannot be made again. MySQL has no index on some
-- of the rows, so a column says which have a slow hash.
ALTER TABLE `api_keys`
    ADD COLUMN lineage BINARY(16),
    ADD COLUMN rotated_from BINARY(16),
    ADD COLUMN rotated_to BINARY(16),
    ADD COLUMN rotated_at BIGINT,
    ADD COLUMN retires_at BIGINT,
    ADD COLUMN grace_after_use BIGINT,
    ADD COLUMN is_awaited BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN request BINARY(32),
    ADD COLUMN legacy_hash LONGTEXT,
    ADD COLUMN is_legacy BOOLEAN GENERATED ALWAYS AS (legacy_hash IS NOT NULL) STORED,
    ADD UNIQUE KEY api_keys_request (request),
    ADD KEY api_keys_legacy (is_legacy, id);
