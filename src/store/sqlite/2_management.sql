-- What it takes to rotate keys, to issue and import them by request, and to tell who did what.
ALTER TABLE "api_keys" ADD COLUMN lineage BLOB CHECK (length(lineage) = 16);
ALTER TABLE "api_keys" ADD COLUMN rotated_from BLOB CHECK (length(rotated_from) = 16);
ALTER TABLE "api_keys" ADD COLUMN rotated_to BLOB CHECK (length(rotated_to) = 16);
ALTER TABLE "api_keys" ADD COLUMN rotated_at INTEGER;
ALTER TABLE "api_keys" ADD COLUMN retires_at INTEGER;
ALTER TABLE "api_keys" ADD COLUMN grace_after_use INTEGER;
ALTER TABLE "api_keys" ADD COLUMN is_awaited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "api_keys" ADD COLUMN request BLOB CHECK (length(request) = 32);
ALTER TABLE "api_keys" ADD COLUMN legacy_hash TEXT;

CREATE UNIQUE INDEX "api_keys_request" ON "api_keys" (request);

CREATE INDEX "api_keys_legacy" ON "api_keys" (id) WHERE legacy_hash IS NOT NULL;

-- The audit log. Keys that were purged stay in it.
CREATE TABLE "api_keys_events" (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    key_id BLOB CHECK (length(key_id) = 16),
    owner TEXT,
    actor TEXT,
    address TEXT,
    detail TEXT
) STRICT;

CREATE INDEX "api_keys_events_key" ON "api_keys_events" (key_id, id);

CREATE INDEX "api_keys_events_owner" ON "api_keys_events" (owner, id);

CREATE INDEX "api_keys_events_at" ON "api_keys_events" (at);
