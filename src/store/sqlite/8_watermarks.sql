-- Keys that were revoked by the time of their creation, for as long as a row of one of them does not say so.
-- The subject is `*` for all keys, or `=` and their owner. It was written at `ended_at`.
CREATE TABLE "api_keys_watermarks" (
    subject TEXT NOT NULL,
    issued_before INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    reason TEXT,
    PRIMARY KEY (subject, issued_before)
) STRICT, WITHOUT ROWID;
