//! Records that no person thought of.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use serde_json::Value;
use tower_api_key::{
    KeyId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord, LegacyHash, Needs, Rotation},
    limit::{Limit, Limits, Quota},
};

pub(crate) fn any_record() -> impl Strategy<Value = KeyRecord> {
    let texts = (any_text(), any_text(), option::of(any_text()), option::of(any_text()));
    let scopes = vec("[!#-)+-9;-\\[\\]-~]{1,8}(:[a-z/]{1,8}){0,2}(:\\*)?", 0..5);
    let times = (any_time(), any_time(), option::of(any_time()), option::of(any_time()));
    let ends = (option::of(any_time()), option::of(any_text()), option::of(any_time()));
    let counts = (0..=i64::MAX as u64, 0..=i64::MAX as u64, any::<bool>());
    let issued = (option::of(any::<[u8; 16]>()), any::<bool>(), 0..1_u64 << 61);
    let limited = (any_limits(), option::of(0..=i64::MAX as u64), option::of(any::<IpAddr>()));
    let data = (scopes, any_metadata(), vec(any_network(), 0..4), option::of(any_text()));
    let ids = (any::<[u8; 16]>(), any::<[u8; 32]>(), option::of(any::<[u8; 32]>()));
    let hash = option::weighted(0.1, "[!-~]{1,255}");
    let all = (texts, data, times, ends, counts, limited, issued, (ids, hash), any_rotation());
    all.prop_map(|(texts, data, times, ends, counts, limited, issued, (ids, hash), rotation)| {
        let (id, digest) = (KeyId::from_bytes(ids.0), KeyDigest::from_bytes(ids.1));
        let mut record = KeyRecord::new(id, digest, "", at(0));
        record.start = texts.0.into();
        record.name = texts.1.into();
        record.details.description = texts.2.map(Into::into);
        record.owner = texts.3.map(Into::into);
        record.scopes = Scopes::parse(data.0).unwrap();
        record.details.metadata = data.1;
        record.details.allowed_addresses = data.2.into();
        record.details.tier = data.3.map(Into::into);
        (record.created_at, record.updated_at, record.details.not_before, record.expires_at) =
            times;
        record.details.revoked_at = ends.0;
        record.details.revoked_reason = ends.1.map(Into::into);
        record.last_used_at = ends.2;
        (record.use_count, record.revision, record.disabled) = counts;
        let details = &mut *record.details;
        (details.limits, details.credits, details.last_used_from) = limited;
        details.created_by = issued.0.map(KeyId::from_bytes);
        details.disabled_by_owner = issued.1;
        // The two lowest are known.
        details.unknown_needs = Needs::from_bits(issued.2 << 2);
        details.request = ids.2.map(KeyDigest::from_bytes);
        details.legacy_hash = hash.map(LegacyHash::new);
        details.rotation = rotation;
        record
    })
}

fn any_rotation() -> impl Strategy<Value = Rotation> {
    let id = || option::of(any::<[u8; 16]>().prop_map(KeyId::from_bytes));
    let times = (option::of(any_time()), option::of(any_time()));
    let grace = option::of(0..=i64::MAX as u64);
    (id(), id(), id(), times, grace, any::<bool>()).prop_map(
        |(lineage, from, to, times, grace, awaited)| {
            let mut rotation = Rotation::default();
            (rotation.lineage, rotation.from, rotation.to) = (lineage, from, to);
            (rotation.rotated_at, rotation.retires_at) = times;
            (rotation.grace_after_use, rotation.is_awaited) = (grace, awaited);
            rotation
        },
    )
}

/// Any text without NUL, which no field takes and which PostgreSQL cannot keep.
fn any_text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('\0', ""))
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), -1_000_000_i64..2_000_000_000_000].prop_map(at)
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let limit = (any::<NonZeroU32>(), any::<NonZeroU32>(), 1..=31 * 86_400_000_u64);
    btree_map("[A-Za-z0-9_.-]{1,32}", limit, 0..4).prop_map(|limits| {
        let limits = limits.into_iter().map(|(name, (requests, burst, millis))| {
            let quota = Quota::new(requests, Duration::from_millis(millis)).unwrap();
            Limit::new(&name, quota.with_burst(burst)).unwrap()
        });
        Limits::new(limits).unwrap()
    })
}

fn any_network() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<[u8; 4]>(), 0_u8..=32)
        .prop_map(|(address, length)| Ipv4Net::new(address.into(), length).unwrap().into());
    let v6 = (any::<[u8; 16]>(), 0_u8..=128)
        .prop_map(|(address, length)| Ipv6Net::new(address.into(), length).unwrap().into());
    prop_oneof![v4, v6]
}

fn any_metadata() -> impl Strategy<Value = tower_api_key::key::Metadata> {
    let finite = any::<f64>().prop_filter("JSON has no such number", |number| number.is_finite());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        finite.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    });
    btree_map(any::<String>(), value, 0..5).prop_map(|map| map.into_iter().collect())
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}
