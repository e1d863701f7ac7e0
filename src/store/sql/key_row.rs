//! Keys as rows that are read: most keys have few columns of their own, and the rest of a key comes as
//! one, empty for those.
//!
//! A column costs a copy in SQLite, and a call of a function in a server, whether there is anything in
//! it or not. All of a key is still read by one statement.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::row::{array, from_json, unreadable, unsigned};
use crate::{
    clock::Timestamp,
    key::{Details, KeyDetails, KeyDigest, KeyId, KeyRecord, LegacyHash, Needs, Rotation},
    text::from_hex,
};

/// The columns that are read by themselves, in the order of [`read`]. After them comes [`RARE`].
const COMMON: [&str; 17] = [
    "id",
    "digest",
    "start",
    "name",
    "owner",
    "scopes",
    "disabled",
    "created_at",
    "updated_at",
    "not_before",
    "expires_at",
    "revoked_at",
    "last_used_at",
    "use_count",
    "revision",
    "tier",
    "last_used_from",
];

/// The index of the digest in a row.
const DIGEST: usize = 1;

/// The columns that come as one array of JSON, in the order of [`details`], and what is in each of a key
/// without details.
const RARE: [(&str, Empty); 19] = [
    ("description", Empty::Null),
    ("limits", Empty::Is("'[]'")),
    ("credits", Empty::Null),
    ("needs", Empty::Is("0")),
    ("metadata", Empty::Is("'{}'")),
    ("allowed_addresses", Empty::Is("'[]'")),
    ("revoked_reason", Empty::Null),
    ("deleted_at", Empty::Null),
    ("lineage", Empty::NoBytes),
    ("rotated_from", Empty::NoBytes),
    ("rotated_to", Empty::NoBytes),
    ("rotated_at", Empty::Null),
    ("retires_at", Empty::Null),
    ("grace_after_use", Empty::Null),
    ("is_awaited", Empty::False),
    ("request", Empty::NoBytes),
    ("created_by", Empty::NoBytes),
    ("owner_disabled_revision", Empty::Null),
    ("legacy_hash", Empty::Null),
];

#[derive(Clone, Copy)]
enum Empty {
    Null,
    /// The same, where there could be bytes.
    NoBytes,
    False,
    Is(&'static str),
}

/// How a database writes the columns of a key.
pub(in crate::store) struct Selected {
    /// The id, as 16 bytes.
    pub(in crate::store) id: &'static str,
    /// The bytes of a column in hexadecimal, or NULL.
    pub(in crate::store) hex: fn(&str) -> String,
    /// A flag as a number.
    pub(in crate::store) flag: fn(&str) -> String,
    /// A text with an array in JSON of these values.
    pub(in crate::store) array: fn(&str) -> String,
}

impl Selected {
    /// What is selected of a key, with when it was [revoked](super::revoked_at).
    pub(in crate::store) fn columns(&self, revoked_at: &str) -> String {
        let columns = COMMON.map(|column| match column {
            "id" => self.id.to_owned(),
            "revoked_at" => format!("{revoked_at} AS revoked_at"),
            column => column.to_owned(),
        });
        let is_empty = RARE.map(|(column, empty)| match empty {
            Empty::Null | Empty::NoBytes => format!("{column} IS NULL"),
            Empty::False => format!("NOT {column}"),
            Empty::Is(value) => format!("{column} = {value}"),
        });
        let values = RARE.map(|(column, empty)| match empty {
            Empty::NoBytes => (self.hex)(column),
            Empty::False => (self.flag)(column),
            Empty::Null | Empty::Is(_) => column.to_owned(),
        });
        format!(
            "{}, CASE WHEN {} THEN NULL ELSE {} END AS details",
            columns.join(", "),
            is_empty.join(" AND "),
            (self.array)(&values.join(", ")),
        )
    }
}

/// Reads the columns of a row, one after the other.
struct Columns<'r, R> {
    row: &'r R,
    next: usize,
}

impl<'r, R: Row> Columns<'r, R>
where
    usize: ColumnIndex<R>,
{
    fn next<T>(&mut self) -> sqlx::Result<T>
    where
        T: Decode<'r, R::Database> + Type<R::Database>,
    {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index)
    }
}

/// Reads the digest of a key.
pub(super) fn digest<'r, R>(row: &'r R) -> sqlx::Result<KeyDigest>
where
    R: Row,
    usize: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(KeyDigest::from_bytes(array("digest", row.try_get(DIGEST)?)?))
}

/// Whether there is a key in the row, which may come from an outer join.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn is_there<'r, R>(row: &'r R) -> sqlx::Result<bool>
where
    R: Row,
    usize: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(row.try_get::<Option<&[u8]>, _>(DIGEST)?.is_some())
}

/// Reads a key from a row with the [`Selected`] columns.
pub(super) fn read<'r, R>(row: &'r R) -> sqlx::Result<KeyRecord>
where
    R: Row,
    usize: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let optional_time = |time: Option<i64>| time.map(Timestamp::from_unix_millis);
    let mut columns = Columns { row, next: 0 };
    let id = KeyId::from_bytes(array("id", columns.next()?)?);
    let digest = KeyDigest::from_bytes(array("digest", columns.next()?)?);
    let start: &str = columns.next()?;
    let name: &str = columns.next()?;
    let mut record = KeyRecord::new(id, digest, name, Timestamp::UNIX_EPOCH);
    record.start = start.into();
    record.owner = columns.next::<Option<&str>>()?.map(Into::into);
    record.scopes = from_json("scopes", columns.next()?)?;
    record.disabled = columns.next()?;
    record.created_at = Timestamp::from_unix_millis(columns.next()?);
    record.updated_at = Timestamp::from_unix_millis(columns.next()?);
    let not_before = optional_time(columns.next()?);
    record.expires_at = optional_time(columns.next()?);
    let revoked_at = optional_time(columns.next()?);
    record.last_used_at = optional_time(columns.next()?);
    record.use_count = unsigned("use_count", columns.next()?)?;
    record.revision = unsigned("revision", columns.next()?)?;
    let tier: Option<&str> = columns.next()?;
    let last_used_from: Option<&str> = columns.next()?;
    let rare: Option<&str> = columns.next()?;
    let is_bounded = not_before.is_some() || revoked_at.is_some();
    if is_bounded || tier.is_some() || last_used_from.is_some() || rare.is_some() {
        let mut details = match rare {
            Some(rare) => details(rare, record.revision)?,
            None => KeyDetails::default(),
        };
        (details.not_before, details.revoked_at) = (not_before, revoked_at);
        details.tier = tier.map(Into::into);
        let address = last_used_from.map(str::parse::<IpAddr>).transpose();
        details.last_used_from = address.map_err(|error| unreadable("last_used_from", error))?;
        record.details = Details::from(details);
    }
    Ok(record)
}

/// Reads the values of [`RARE`] in a row of this revision.
fn details(rare: &str, revision: u64) -> sqlx::Result<KeyDetails> {
    let mut values = Values(from_json::<Vec<Value>>("details", rare)?.into_iter(), RARE.iter());
    Ok(KeyDetails {
        description: values.text()?.map(Into::into),
        limits: values.json()?,
        credits: values.unsigned()?,
        // What is known of them follows from the rest.
        unknown_needs: Needs::from_bits(values.unsigned()?.unwrap_or_default()).unknown(),
        metadata: values.json()?,
        allowed_addresses: networks(&values.json::<Vec<String>>()?)?,
        revoked_reason: values.text()?.map(Into::into),
        deleted_at: values.time()?,
        rotation: Rotation {
            lineage: values.bytes()?.map(KeyId::from_bytes),
            from: values.bytes()?.map(KeyId::from_bytes),
            to: values.bytes()?.map(KeyId::from_bytes),
            rotated_at: values.time()?,
            retires_at: values.time()?,
            grace_after_use: values.unsigned()?,
            is_awaited: values.number()? == Some(1),
        },
        request: values.bytes()?.map(KeyDigest::from_bytes),
        created_by: values.bytes()?.map(KeyId::from_bytes),
        // Of an earlier revision, it is not about the row as it is now.
        disabled_by_owner: values.unsigned()? == Some(revision),
        legacy_hash: values.text()?.map(LegacyHash::new),
        ..KeyDetails::default()
    })
}

/// Takes the values of an array, with the columns that they are of. No error repeats one.
struct Values<'c, I>(I, std::slice::Iter<'c, (&'static str, Empty)>);

impl<I: Iterator<Item = Value>> Values<'_, I> {
    fn next(&mut self) -> (&'static str, Option<Value>) {
        let column = self.1.next().map_or("details", |(column, _)| column);
        (column, self.0.next().filter(|value| !value.is_null()))
    }

    fn text(&mut self) -> sqlx::Result<Option<String>> {
        match self.next() {
            (_, None) => Ok(None),
            (_, Some(Value::String(text))) => Ok(Some(text)),
            (column, Some(_)) => Err(unreadable(column, io::Error::other("it is no text"))),
        }
    }

    fn number(&mut self) -> sqlx::Result<Option<i64>> {
        let (column, value) = self.next();
        let Some(value) = value else { return Ok(None) };
        let number = value.as_i64();
        number.map(Some).ok_or_else(|| unreadable(column, io::Error::other("it is no number")))
    }

    fn unsigned(&mut self) -> sqlx::Result<Option<u64>> {
        let column = self.column();
        self.number()?.map(|number| unsigned(column, number)).transpose()
    }

    fn time(&mut self) -> sqlx::Result<Option<Timestamp>> {
        Ok(self.number()?.map(Timestamp::from_unix_millis))
    }

    fn bytes<const N: usize>(&mut self) -> sqlx::Result<Option<[u8; N]>> {
        let column = self.column();
        let Some(text) = self.text()? else { return Ok(None) };
        match from_hex(&text) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(unreadable(
                column,
                io::Error::other("not the hexadecimal digits of an id or digest"),
            )),
        }
    }

    fn json<T: serde_core::de::DeserializeOwned>(&mut self) -> sqlx::Result<T> {
        let column = self.column();
        from_json(column, &self.text()?.unwrap_or_default())
    }

    /// Of the next value.
    fn column(&self) -> &'static str {
        self.1.as_slice().first().map_or("details", |(column, _)| column)
    }
}

fn networks(texts: &[String]) -> sqlx::Result<Box<[IpNet]>> {
    let networks = texts.iter().map(|network| network.parse());
    networks.collect::<Result<_, _>>().map_err(|error| unreadable("allowed_addresses", error))
}
