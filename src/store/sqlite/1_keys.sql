-- The keys. A store with another table name replaces `api_keys` throughout.
-- Times are milliseconds since the Unix epoch. The defaults are for rows that other programs write:
-- id, digest, name, created_at and updated_at make a key.
CREATE TABLE "api_keys" (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    start TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL,
    description TEXT,
    owner TEXT,
    scopes TEXT NOT NULL DEFAULT '[]',
    tier TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    allowed_addresses TEXT NOT NULL DEFAULT '[]',
    disabled INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    not_before INTEGER,
    expires_at INTEGER,
    revoked_at INTEGER,
    revoked_reason TEXT,
    deleted_at INTEGER,
    last_used_at INTEGER,
    use_count INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX "api_keys_digest" ON "api_keys" (digest);

CREATE INDEX "api_keys_owner" ON "api_keys" (owner, id);
