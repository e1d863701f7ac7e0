-- How many requests of a lineage had an outcome in an hour, by when the hour began.
CREATE TABLE IF NOT EXISTS `api_keys_usage` (
    line BINARY(16) NOT NULL,
    hour BIGINT NOT NULL,
    outcome VARCHAR(32) NOT NULL,
    owner VARCHAR(255),
    count BIGINT NOT NULL,
    PRIMARY KEY (line, hour, outcome),
    KEY api_keys_usage_owner (owner, hour),
    KEY api_keys_usage_hour (hour)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
