//! What a key of the first schema had, for tests of migrations.

use serde_json::json;
use tower_api_key::{Scopes, key::KeyRecord};

use crate::conformance::{at, networks, record};

/// As SQL for its row, and as it is read.
pub(crate) fn of_first_version(number: u64) -> (&'static str, KeyRecord) {
    let mut record = record(number);
    record.start = "acme_live_Ab3x".into();
    record.name = "Zoë’s shop".into();
    record.details.description = Some("all of it".into());
    record.owner = Some("anna ".into());
    record.scopes = Scopes::parse(["orders:read", "stock:*"]).unwrap();
    record.details.tier = Some("gold".into());
    record.details.metadata.insert("n".to_owned(), json!(1));
    record.details.allowed_addresses = networks(&["10.0.0.0/8"]);
    record.disabled = true;
    (record.created_at, record.updated_at) = (at(1), at(2));
    (record.details.not_before, record.expires_at) = (Some(at(3)), Some(at(4)));
    (record.details.revoked_at, record.details.revoked_reason) = (Some(at(5)), Some("lost".into()));
    record.details.deleted_at = Some(at(6));
    (record.last_used_at, record.use_count, record.revision) = (Some(at(7)), 8, 9);
    let sql = "start = 'acme_live_Ab3x', name = 'Zoë’s shop', description = 'all of it', \
        owner = 'anna ', scopes = '[\"orders:read\",\"stock:*\"]', tier = 'gold', \
        metadata = '{\"n\":1}', allowed_addresses = '[\"10.0.0.0/8\"]', disabled = TRUE, \
        created_at = 1, updated_at = 2, not_before = 3, expires_at = 4, revoked_at = 5, \
        revoked_reason = 'lost', deleted_at = 6, last_used_at = 7, use_count = 8, revision = 9";
    (sql, record)
}

/// The 32 hex digits of the key's id, and the 64 of its digest.
pub(crate) fn hex_of(record: &KeyRecord) -> (String, String) {
    (record.id.to_string().replace('-', ""), record.digest.to_hex())
}
