-- The beat by which replicas prove how far behind they are. Nodes that read from replicas write it, about
-- once a second. A beat is a random number; `beat_at` is the time of the server that took it.
CREATE TABLE "api_keys_heartbeat" (
    slot smallint NOT NULL CHECK (slot = 1),
    beat bigint NOT NULL,
    previous bigint NOT NULL,
    beat_at bigint NOT NULL,
    CONSTRAINT "api_keys_heartbeat_slot" PRIMARY KEY (slot)
);

INSERT INTO "api_keys_heartbeat" (slot, beat, previous, beat_at) VALUES (1, 0, 0, 0);
