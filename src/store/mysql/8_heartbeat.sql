-- The beat by which replicas prove how far behind they are. Nodes that read from replicas write it, about
-- once a second. A beat is a random number; `beat_at` is the time of the server that took it.
CREATE TABLE IF NOT EXISTS `api_keys_heartbeat` (
    slot SMALLINT NOT NULL PRIMARY KEY,
    beat BIGINT NOT NULL,
    previous BIGINT NOT NULL,
    beat_at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO `api_keys_heartbeat` (slot, beat, previous, beat_at) VALUES (1, 0, 0, 0);
