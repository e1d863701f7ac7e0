-- Which key an owner issued a key with, and whether an owner switched it off: the revision of the row
-- that says so. A program that does not know the column leaves an earlier revision in it, which says
-- nothing.
ALTER TABLE "api_keys" ADD COLUMN created_by BLOB CHECK (length(created_by) = 16);
ALTER TABLE "api_keys" ADD COLUMN owner_disabled_revision INTEGER;

CREATE INDEX "api_keys_lineage" ON "api_keys" (lineage, id) WHERE lineage IS NOT NULL;
