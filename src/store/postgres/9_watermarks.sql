-- Keys that were revoked by the time of their creation, for as long as a row of one of them does not say so.
-- The subject is `*` for all keys, or `=` and their owner. It was written at `ended_at`.
CREATE TABLE "api_keys_watermarks" (
    subject bytea NOT NULL,
    issued_before bigint NOT NULL,
    ended_at bigint NOT NULL,
    reason text,
    CONSTRAINT "api_keys_watermarks_subject" PRIMARY KEY (subject, issued_before)
);
