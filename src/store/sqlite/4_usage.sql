-- How many requests of a lineage had an outcome in an hour, by when the hour began.
CREATE TABLE "api_keys_usage" (
    line BLOB NOT NULL CHECK (length(line) = 16),
    hour INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    owner TEXT,
    count INTEGER NOT NULL,
    PRIMARY KEY (line, hour, outcome)
) STRICT, WITHOUT ROWID;

CREATE INDEX "api_keys_usage_owner" ON "api_keys_usage" (owner, hour);

CREATE INDEX "api_keys_usage_hour" ON "api_keys_usage" (hour);
