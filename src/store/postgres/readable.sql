CREATE VIEW api_keys_readable AS
SELECT id, start, name, owner, scopes, tier, limits, disabled, use_count, last_used_from,
    to_timestamp(created_at / 1000.0) AS created_at,
    to_timestamp(expires_at / 1000.0) AS expires_at,
    to_timestamp(retires_at / 1000.0) AS retires_at,
    to_timestamp(revoked_at / 1000.0) AS revoked_at,
    to_timestamp(deleted_at / 1000.0) AS deleted_at,
    to_timestamp(last_used_at / 1000.0) AS last_used_at
FROM api_keys;
