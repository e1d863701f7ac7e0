-- Which period of a balance was granted last.
ALTER TABLE "api_keys_credits" ADD COLUMN granted INTEGER;

-- What was done to a lineage by a request that named itself, so that it is done once: no key
-- is deleted with it, and no event.
CREATE TABLE "api_keys_requests" (
    line BLOB NOT NULL CHECK (length(line) = 16),
    request BLOB NOT NULL CHECK (length(request) = 32),
    at INTEGER NOT NULL,
    act TEXT NOT NULL,
    key_id BLOB NOT NULL CHECK (length(key_id) = 16),
    amount INTEGER NOT NULL,
    actor TEXT,
    result TEXT NOT NULL,
    PRIMARY KEY (line, request)
) STRICT, WITHOUT ROWID;

CREATE INDEX "api_keys_requests_at" ON "api_keys_requests" (at);
