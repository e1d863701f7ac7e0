-- The keys. A store with another table name replaces `api_keys` throughout.
-- Times are milliseconds since the Unix epoch. The defaults are for rows that other programs write:
-- id, digest, name, created_at and updated_at make a key.
CREATE TABLE "api_keys" (
    id uuid NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    start text NOT NULL DEFAULT '',
    name text NOT NULL,
    description text,
    -- Byte for byte, whatever the database's collation, and whatever becomes of it.
    owner text COLLATE "C",
    scopes text NOT NULL DEFAULT '[]',
    tier text,
    metadata text NOT NULL DEFAULT '{}',
    allowed_addresses text NOT NULL DEFAULT '[]',
    disabled boolean NOT NULL DEFAULT false,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    not_before bigint,
    expires_at bigint,
    revoked_at bigint,
    revoked_reason text,
    deleted_at bigint,
    last_used_at bigint,
    use_count bigint NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    CONSTRAINT "api_keys_id" PRIMARY KEY (id)
);

CREATE UNIQUE INDEX "api_keys_digest" ON "api_keys" (digest);

CREATE INDEX "api_keys_owner" ON "api_keys" (owner, id);
