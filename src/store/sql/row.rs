//! Keys as rows.

use std::{collections::BTreeMap, error::Error, io, net::IpAddr};

use serde_core::de::DeserializeOwned;

use super::call::Value;
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    key::{KeyId, KeyRecord, LegacyHash, OwnerId},
    store::repository::KeyUse,
};

/// The columns that an update writes, in the order of [`changing`].
pub(in crate::store) const CHANGING: [&str; 31] = [
    "digest",
    "start",
    "name",
    "description",
    "owner",
    "scopes",
    "tier",
    "metadata",
    "allowed_addresses",
    "disabled",
    "updated_at",
    "not_before",
    "expires_at",
    "revoked_at",
    "revoked_reason",
    "deleted_at",
    "revision",
    "lineage",
    "rotated_from",
    "rotated_to",
    "rotated_at",
    "retires_at",
    "grace_after_use",
    "is_awaited",
    "request",
    "legacy_hash",
    "limits",
    "credits",
    "created_by",
    "owner_disabled_revision",
    "needs",
];

/// The columns that only an insert writes, in the order of [`fixed`].
pub(in crate::store) const FIXED: [&str; 5] =
    ["id", "created_at", "last_used_at", "last_used_from", "use_count"];

/// Every column of a key, for an insert.
pub(in crate::store) fn columns() -> Vec<&'static str> {
    [&CHANGING[..], &FIXED[..]].concat()
}

/// The values of [`CHANGING`].
pub(super) fn changing(record: &KeyRecord) -> [Value<'_>; CHANGING.len()] {
    let details = &*record.details;
    let rotation = &details.rotation;
    let addresses: Vec<_> = details.allowed_addresses.iter().map(ToString::to_string).collect();
    [
        Value::from(&record.digest.as_bytes()[..]),
        Value::from(&*record.start),
        Value::from(&*record.name),
        Value::Text(details.description.as_deref()),
        Value::Text(record.owner.as_ref().map(OwnerId::as_str)),
        Value::Made(json(&record.scopes)),
        Value::Text(details.tier.as_deref()),
        Value::Made(json(&details.metadata)),
        Value::Made(json(&addresses)),
        Value::Flag(record.disabled),
        Value::from(record.updated_at),
        Value::from(details.not_before),
        Value::from(record.expires_at),
        Value::from(details.revoked_at),
        Value::Text(details.revoked_reason.as_deref()),
        Value::from(details.deleted_at),
        Value::from(count(record.revision)),
        id(rotation.lineage.as_ref()),
        id(rotation.from.as_ref()),
        id(rotation.to.as_ref()),
        Value::from(rotation.rotated_at),
        Value::from(rotation.retires_at),
        Value::Number(rotation.grace_after_use.map(count)),
        Value::Flag(rotation.is_awaited),
        Value::Bytes(details.request.as_ref().map(|request| &request.as_bytes()[..])),
        Value::Text(details.legacy_hash.as_ref().map(LegacyHash::expose)),
        Value::Made(json(&details.limits)),
        Value::Number(details.credits.map(count)),
        id(details.created_by.as_ref()),
        Value::Number(details.disabled_by_owner.then(|| count(record.revision))),
        Value::from(count(details.needs().bits())),
    ]
}

/// The values of [`FIXED`].
pub(super) fn fixed(record: &KeyRecord) -> [Value<'_>; FIXED.len()] {
    [
        Value::from(&record.id.as_bytes()[..]),
        Value::from(record.created_at),
        Value::from(record.last_used_at),
        address(record.details.last_used_from),
        Value::from(count(record.use_count)),
    ]
}

pub(super) fn id(id: Option<&KeyId>) -> Value<'_> {
    Value::Bytes(id.map(|id| &id.as_bytes()[..]))
}

pub(super) fn address(address: Option<IpAddr>) -> Value<'static> {
    address.map_or(Value::Text(None), |address| Value::Made(address.to_string()))
}

/// As databases count, with a sign. No key is used or changed 2⁶³ times.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The recorded use of a key: how often it was used, when last, and from where at what time.
type Used = (u64, Timestamp, Option<(IpAddr, Timestamp)>);

/// The uses as `[["<id in hex>", count, time, "<address>", time of the address], …]`, without the
/// last two where there is no address; each key once, in the order of ids. A statement that updates
/// by joining applies one row to a key, whichever; and writers that take keys in one order do not
/// deadlock.
pub(super) fn uses(uses: &[KeyUse]) -> String {
    let mut sums = BTreeMap::<KeyId, Used>::new();
    for &KeyUse { id, count, last_used_at: at, last_used_from } in uses {
        let (sum, last, from) = sums.entry(id).or_insert((0, at, None));
        *sum = sum.saturating_add(count);
        if at >= *last {
            *last = at;
            *from = last_used_from.map(|address| (address, at)).or(*from);
        }
    }
    let rows = sums.into_iter().map(|(id, (sum, last, from))| {
        let row = [hex(id), count(sum).into(), last.as_unix_millis().into()];
        let from =
            from.map(|(address, at)| [address.to_string().into(), at.as_unix_millis().into()]);
        row.into_iter().chain(from.into_iter().flatten()).collect::<serde_json::Value>()
    });
    json(&rows.collect::<Vec<_>>())
}

/// An id in a text of JSON.
pub(super) fn hex(id: KeyId) -> serde_json::Value {
    crate::text::hex(id.as_bytes()).into()
}

pub(in crate::store) fn json(value: &impl serde_core::Serialize) -> String {
    // Serialising fails only for maps with keys that are not text, and none of these has one.
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn array<const N: usize>(column: &str, bytes: &[u8]) -> sqlx::Result<[u8; N]> {
    bytes.try_into().map_err(|error| unreadable(column, error))
}

pub(super) fn unsigned(column: &str, number: i64) -> sqlx::Result<u64> {
    number.try_into().map_err(|error| unreadable(column, error))
}

pub(super) fn from_json<T: DeserializeOwned>(column: &str, text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

pub(super) fn unreadable(column: &str, source: impl Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(source) }
}

/// The meaning of an error of the database to the caller of a store.
pub(in crate::store) fn store_error(error: sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    let kind = match &error {
        E::PoolTimedOut => StoreErrorKind::Timeout,
        E::Io(error) if error.kind() == io::ErrorKind::TimedOut => StoreErrorKind::Timeout,
        E::ColumnDecode { .. }
        | E::ColumnIndexOutOfBounds { .. }
        | E::ColumnNotFound(_)
        | E::Decode(_)
        | E::TypeNotFound { .. } => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind).with_source(error)
}
