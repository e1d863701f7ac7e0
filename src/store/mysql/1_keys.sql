-- The keys. A store with another table name replaces `api_keys` throughout.
-- Times are milliseconds since the Unix epoch. The defaults are for rows that other programs write:
-- id, digest, name, created_at and updated_at make a key.
-- MySQL commits a statement like this by itself, so it must bear to be run again.
CREATE TABLE IF NOT EXISTS `api_keys` (
    id BINARY(16) NOT NULL PRIMARY KEY,
    digest BINARY(32) NOT NULL,
    start LONGTEXT NOT NULL DEFAULT (''),
    name LONGTEXT NOT NULL,
    description LONGTEXT,
    owner VARCHAR(255),
    scopes LONGTEXT NOT NULL DEFAULT ('[]'),
    tier LONGTEXT,
    metadata LONGTEXT NOT NULL DEFAULT ('{}'),
    allowed_addresses LONGTEXT NOT NULL DEFAULT ('[]'),
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    not_before BIGINT,
    expires_at BIGINT,
    revoked_at BIGINT,
    revoked_reason LONGTEXT,
    deleted_at BIGINT,
    last_used_at BIGINT,
    use_count BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 0,
    UNIQUE KEY api_keys_digest (digest),
    KEY api_keys_owner (owner, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
