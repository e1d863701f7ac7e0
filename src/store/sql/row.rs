//! Keys as rows.

use std::{collections::BTreeMap, error::Error, io};

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use sqlx::{ColumnIndex, Database, Decode, Encode, Row, Type, query::Query};

use crate::{
    Details, KeyDetails, KeyDigest, KeyId, KeyRecord, OwnerId, Timestamp,
    store::{KeyUse, StoreError, StoreErrorKind},
};

/// The columns that an update writes, in the order of [`bind_changing`].
pub(in crate::store) const CHANGING: [&str; 17] = [
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
];

/// The columns that only an insert writes, in the order of [`bind_fixed`].
pub(in crate::store) const FIXED: [&str; 4] = ["id", "created_at", "last_used_at", "use_count"];

/// Every column of a key, for an insert or a select.
pub(in crate::store) fn columns() -> String {
    [&CHANGING[..], &FIXED[..]].concat().join(", ")
}

/// Binds [`CHANGING`].
pub(in crate::store) fn bind_changing<'q, DB>(
    query: Query<'q, DB, DB::Arguments>,
    record: &'q KeyRecord,
) -> Query<'q, DB, DB::Arguments>
where
    DB: Database,
    &'q [u8]: Encode<'q, DB> + Type<DB>,
    &'q str: Encode<'q, DB> + Type<DB>,
    Option<&'q str>: Encode<'q, DB>,
    String: Encode<'q, DB> + Type<DB>,
    bool: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB>,
{
    let addresses: Vec<_> =
        record.details.allowed_addresses.iter().map(ToString::to_string).collect();
    query
        .bind(&record.digest.as_bytes()[..])
        .bind(&*record.start)
        .bind(&*record.name)
        .bind(record.details.description.as_deref())
        .bind(record.owner.as_ref().map(OwnerId::as_str))
        .bind(json(&record.scopes))
        .bind(record.details.tier.as_deref())
        .bind(json(&record.details.metadata))
        .bind(json(&addresses))
        .bind(record.disabled)
        .bind(record.updated_at.as_unix_millis())
        .bind(millis(record.not_before))
        .bind(millis(record.expires_at))
        .bind(millis(record.revoked_at))
        .bind(record.details.revoked_reason.as_deref())
        .bind(millis(record.details.deleted_at))
        .bind(count(record.revision))
}

/// Binds [`FIXED`].
pub(in crate::store) fn bind_fixed<'q, DB>(
    query: Query<'q, DB, DB::Arguments>,
    record: &'q KeyRecord,
) -> Query<'q, DB, DB::Arguments>
where
    DB: Database,
    &'q [u8]: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB>,
{
    query
        .bind(&record.id.as_bytes()[..])
        .bind(record.created_at.as_unix_millis())
        .bind(millis(record.last_used_at))
        .bind(count(record.use_count))
}

/// As databases count, with a sign. No key is used or changed 2⁶³ times.
pub(in crate::store) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The uses with each key once, in the order of ids. A statement that updates by joining applies
/// one row to a key, whichever; and writers that take keys in one order do not deadlock.
pub(in crate::store) fn sums(uses: &[KeyUse]) -> impl Iterator<Item = (KeyId, i64, i64)> {
    let mut sums = BTreeMap::<KeyId, (u64, Timestamp)>::new();
    for key_use in uses {
        let (sum, last) = sums.entry(key_use.id).or_insert((0, key_use.last_used_at));
        *sum = sum.saturating_add(key_use.count);
        *last = key_use.last_used_at.max(*last);
    }
    sums.into_iter().map(|(id, (sum, last))| (id, count(sum), last.as_unix_millis()))
}

fn millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_unix_millis)
}

fn json(value: &impl serde::Serialize) -> String {
    // Serialising fails only for maps with keys that are not text, and none of these has one.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a key from a row with all [`columns`].
pub(in crate::store) fn read<'r, R>(row: &'r R) -> sqlx::Result<KeyRecord>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |column| row.try_get::<&str, _>(column);
    let optional = |column| row.try_get::<Option<&str>, _>(column);
    let number = |column| row.try_get::<i64, _>(column);
    let time = |column| number(column).map(Timestamp::from_unix_millis);
    let optional_time = |column| {
        row.try_get::<Option<i64>, _>(column).map(|time| time.map(Timestamp::from_unix_millis))
    };

    let id = KeyId::from_bytes(array("id", row.try_get("id")?)?);
    let digest = KeyDigest::from_bytes(array("digest", row.try_get("digest")?)?);
    let mut record = KeyRecord::new(id, digest, text("name")?, time("created_at")?);
    record.start = text("start")?.into();
    record.owner = optional("owner")?.map(Into::into);
    record.scopes = from_json("scopes", text("scopes")?)?;
    record.disabled = row.try_get("disabled")?;
    record.updated_at = time("updated_at")?;
    record.not_before = optional_time("not_before")?;
    record.expires_at = optional_time("expires_at")?;
    record.revoked_at = optional_time("revoked_at")?;
    record.last_used_at = optional_time("last_used_at")?;
    record.use_count = unsigned("use_count", number("use_count")?)?;
    record.revision = unsigned("revision", number("revision")?)?;
    record.details = Details::from(KeyDetails {
        description: optional("description")?.map(Into::into),
        tier: optional("tier")?.map(Into::into),
        metadata: from_json("metadata", text("metadata")?)?,
        allowed_addresses: networks(text("allowed_addresses")?)?,
        revoked_reason: optional("revoked_reason")?.map(Into::into),
        deleted_at: optional_time("deleted_at")?,
        ..KeyDetails::default()
    });
    Ok(record)
}

fn array<const N: usize>(column: &str, bytes: &[u8]) -> sqlx::Result<[u8; N]> {
    bytes.try_into().map_err(|error| unreadable(column, error))
}

fn unsigned(column: &str, number: i64) -> sqlx::Result<u64> {
    number.try_into().map_err(|error| unreadable(column, error))
}

fn from_json<T: DeserializeOwned>(column: &str, text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

fn networks(text: &str) -> sqlx::Result<Box<[IpNet]>> {
    let column = "allowed_addresses";
    let texts: Vec<String> = from_json(column, text)?;
    let networks = texts.iter().map(|network| network.parse());
    networks.collect::<Result<_, _>>().map_err(|error| unreadable(column, error))
}

fn unreadable(column: &str, source: impl Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(source) }
}

/// What an error of the database means to the caller of a store.
pub(in crate::store) fn store_error(error: sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    let kind = match &error {
        E::Database(database) if database.is_unique_violation() => StoreErrorKind::Duplicate,
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
