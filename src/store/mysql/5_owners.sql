-- Which key an owner issued a key with, and whether an owner switched it off: the revision of the row
-- that says so. A program that does not know the column leaves an earlier revision in it, which says
-- nothing.
ALTER TABLE `api_keys`
    ADD COLUMN created_by BINARY(16),
    ADD COLUMN owner_disabled_revision BIGINT,
    ADD KEY api_keys_lineage (lineage, id);
