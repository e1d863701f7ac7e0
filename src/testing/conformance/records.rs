//! Records that the cases write.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use crate::{
    KeyId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord, Needs},
    limit::{Limit, Limits, Quota},
    nonzero,
    store::{KeyRepository, StoreError, StoreErrorKind},
};

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

/// The `number`th key: its id sorts by the number, its digest is like no other.
pub fn record(number: u64) -> KeyRecord {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut record =
        KeyRecord::new(KeyId::from_bytes(id), digest(number), format!("key {number}"), at(1_000));
    record.revision = 0;
    record
}

pub fn digest(number: u64) -> KeyDigest {
    let mut digest = [0xa5; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    KeyDigest::from_bytes(digest)
}

/// A key with every field set, and with values that stores get wrong.
pub fn full(number: u64) -> KeyRecord {
    let mut record = record(number);
    record.start = "acme_live_Ab3x".into();
    record.name = "Zoë's “shop” — 日本語 🦀 e\u{301}; DROP TABLE api_keys; --".into();
    record.details.description = Some("two\nlines,\ttabs, 'quotes', \"more\", \\ and %_".into());
    record.owner = Some("user:Ω/1@example.com ".into());
    record.scopes = Scopes::parse(["orders:read", "stock:*", "a/b.c-d_e"]).unwrap();
    record.details.tier = Some("gold".into());
    let metadata = json!({
        "": null,
        "numbers": [0, -1, i64::MIN, u64::MAX, 0.1, -0.0, 1e300, 5e-324, 123_456_789.123_456_79],
        "texts": ["", "日本語 🦀", "\u{0}\u{1f}\u{7f}", "\\u0041", "' \" \\ %_"],
        "nested": {"b": {"a": [[], {}, [true, false]]}},
    });
    record.details.metadata.clone_from(metadata.as_object().unwrap());
    record.details.allowed_addresses =
        networks(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0"]);
    record.disabled = true;
    record.created_at = at(-1);
    record.updated_at = at(1_795_000_000_123);
    record.details.not_before = Some(at(0));
    record.expires_at = Some(at(i64::MAX));
    record.details.revoked_at = Some(at(i64::MIN));
    record.details.revoked_reason = Some(String::new().into());
    record.last_used_at = Some(at(1_795_000_000_999));
    record.details.limits = limits();
    record.details.credits = Some((1 << 53) + 1);
    record.details.unknown_needs = Needs::from_bits(1 << 62);
    record.details.last_used_from = Some("2001:db8::ffff:0:1".parse().unwrap());
    record.details.created_by = Some(KeyId::from_bytes([0xfe; 16]));
    record.details.disabled_by_owner = true;
    record.use_count = i64::MAX as u64;
    record.revision = (1 << 53) + 1;
    record
}

fn limits() -> Limits {
    let short = Quota::new(nonzero!(7), Duration::from_millis(1_500)).unwrap();
    let long = Quota::per_day(nonzero!(u32::MAX)).with_burst(nonzero!(1));
    Limits::new([Limit::new("a-b.c_D9", short).unwrap(), Limit::new("day", long).unwrap()]).unwrap()
}

pub fn networks(networks: &[&str]) -> Box<[IpNet]> {
    networks.iter().map(|network| network.parse().unwrap()).collect()
}

/// The key with its first digest, at this revision.
pub fn record_at(number: u64, revision: u64) -> KeyRecord {
    let mut record = record(number);
    record.revision = revision;
    record
}

/// The record as the store has it now.
pub async fn stored(store: &impl KeyRepository, id: KeyId) -> KeyRecord {
    KeyRecord::clone(&*store.get(id).await.unwrap().expect("the key is there"))
}

pub fn assert_duplicate<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert_eq!(result.unwrap_err().kind(), StoreErrorKind::Duplicate);
}
