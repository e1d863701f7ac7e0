-- How many requests of a lineage had an outcome in an hour, by when the hour began.
CREATE TABLE "api_keys_usage" (
    line uuid NOT NULL,
    hour bigint NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    owner text COLLATE "C",
    count bigint NOT NULL,
    CONSTRAINT "api_keys_usage_line" PRIMARY KEY (line, hour, outcome)
);

CREATE INDEX "api_keys_usage_owner" ON "api_keys_usage" (owner, hour);

CREATE INDEX "api_keys_usage_hour" ON "api_keys_usage" (hour);
