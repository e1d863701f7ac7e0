CREATE VIEW api_keys_readable AS
SELECT lower(concat_ws('-', substr(hex(id), 1, 8), substr(hex(id), 9, 4), substr(hex(id), 13, 4),
        substr(hex(id), 17, 4), substr(hex(id), 21))) AS id,
    start, name, owner, scopes, tier, limits, disabled, use_count, last_used_from,
    timestampadd(MICROSECOND, created_at * 1000, '1970-01-01') AS created_at,
    timestampadd(MICROSECOND, expires_at * 1000, '1970-01-01') AS expires_at,
    timestampadd(MICROSECOND, retires_at * 1000, '1970-01-01') AS retires_at,
    timestampadd(MICROSECOND, revoked_at * 1000, '1970-01-01') AS revoked_at,
    timestampadd(MICROSECOND, deleted_at * 1000, '1970-01-01') AS deleted_at,
    timestampadd(MICROSECOND, last_used_at * 1000, '1970-01-01') AS last_used_at
FROM api_keys;
