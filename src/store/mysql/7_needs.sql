-- What a program must be able to enforce to let a key in, as bits. What older rows need follows from
-- their other columns.
ALTER TABLE `api_keys` ADD COLUMN needs BIGINT NOT NULL DEFAULT 0;
