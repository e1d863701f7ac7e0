-- Which period of a balance was granted last.
ALTER TABLE "api_keys_credits" ADD COLUMN granted bigint;

-- What was done to a lineage by a request that named itself, so that it is done once: no key
-- is deleted with it, and no event.
CREATE TABLE "api_keys_requests" (
    line uuid NOT NULL,
    request bytea NOT NULL CHECK (length(request) = 32),
    at bigint NOT NULL,
    act text COLLATE "C" NOT NULL,
    key_id uuid NOT NULL,
    amount bigint NOT NULL,
    actor text,
    result text NOT NULL,
    CONSTRAINT "api_keys_requests_line" PRIMARY KEY (line, request)
);

CREATE INDEX "api_keys_requests_at" ON "api_keys_requests" (at);
