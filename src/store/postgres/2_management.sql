-- What it takes to rotate keys, to issue and import them by request, and to tell who did what.
ALTER TABLE "api_keys"
    ADD COLUMN lineage uuid,
    ADD COLUMN rotated_from uuid,
    ADD COLUMN rotated_to uuid,
    ADD COLUMN rotated_at bigint,
    ADD COLUMN retires_at bigint,
    ADD COLUMN grace_after_use bigint,
    ADD COLUMN is_awaited boolean NOT NULL DEFAULT false,
    ADD COLUMN request bytea CHECK (octet_length(request) = 32),
    ADD COLUMN legacy_hash text;

CREATE UNIQUE INDEX "api_keys_request" ON "api_keys" (request);

CREATE INDEX "api_keys_legacy" ON "api_keys" (id) WHERE legacy_hash IS NOT NULL;

-- The audit log. Keys that were purged stay in it.
CREATE TABLE "api_keys_events" (
    id uuid NOT NULL,
    at bigint NOT NULL,
    action text NOT NULL,
    key_id uuid,
    owner text COLLATE "C",
    actor text,
    address text,
    detail text,
    CONSTRAINT "api_keys_events_id" PRIMARY KEY (id)
);

CREATE INDEX "api_keys_events_key" ON "api_keys_events" (key_id, id);

CREATE INDEX "api_keys_events_owner" ON "api_keys_events" (owner, id);

CREATE INDEX "api_keys_events_at" ON "api_keys_events" (at);
