//! A row of another system's table, read as a key.
//!
//! An error names the column and the values that it may hold, and never shows the value that it
//! does hold: with columns mixed up, that may be a key.

use std::{fmt, slice};

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower_api_key::{
    KeyFormat, KeyHasher, KeyManager, NewKey, Scopes, Timestamp,
    credits::NewCredits,
    key::{LegacyHash, Metadata},
    legacy::InvalidLegacyHash,
    limit::Limits,
    manage::{ImportKey, ManageError, RestoreKey},
    store::MemoryStore,
};

use super::{
    columns::{KEY_HASH, STATE},
    digest,
    state::State,
    time,
};
use crate::{
    create,
    exported::{self, Exported, Fields},
};

/// The fault of a row.
#[derive(Debug)]
pub(super) struct Bad(String);

impl Bad {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn field(field: &str, must: &str) -> Self {
        Self(format!("{field} {must}"))
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a row is to be read.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) times: time::Reading,
    pub(super) base64_digests: bool,
}

/// The key in a row.
pub(super) enum Key {
    /// Of another system.
    New(ImportKey),
    /// Of an export.
    Stored(RestoreKey),
}

impl Key {
    /// The state that it has where it comes from.
    pub(super) fn state(&self, now: Timestamp) -> State {
        let (disabled, end) = match self {
            Self::New(key) => (key.disabled, key.new.expires_at),
            Self::Stored(key) if key.record.details.revoked_at.is_some() => return State::Ended,
            Self::Stored(key) => (key.record.disabled, key.record.ends_at()),
        };
        match end {
            Some(end) if end <= now => State::Ended,
            _ if disabled => State::Inactive,
            _ => State::Active,
        }
    }
}

/// Whether the key came to its end there. Then it is not to come alive here.
pub(super) fn has_ended(fields: &Fields) -> bool {
    state(fields) == State::Ended
}

/// Without a column that says it, keys are active.
fn state(fields: &Fields) -> State {
    let state = fields.get(STATE).and_then(Value::as_str);
    state.map_or(State::Active, |name| State::named(name).unwrap_or(State::Ended))
}

/// The digest by which a key that has ended there is found here, if the row still has it.
pub(super) fn ended_key(fields: &Fields, reading: &Reading) -> Option<ImportKey> {
    let start = text(fields, "key_prefix").ok()?.unwrap_or_default();
    hashed(fields, start, NewKey::named("ended"), reading).ok()
}

/// Puts the digest in the place of the key itself. A row of an export has no key.
pub(super) fn digest_key(fields: &mut Fields, hasher: &KeyHasher) -> Result<(), Bad> {
    let Some(Value::String(key)) = fields.get(KEY_HASH) else {
        return Err(Bad::field(KEY_HASH, "must hold the key"));
    };
    if !KeyFormat::opaque().recognizes(key) {
        return Err(Bad::field(KEY_HASH, "must hold a key of 16 to 512 visible ASCII characters"));
    }
    let digest = hasher.digest(key).to_hex();
    fields.insert(KEY_HASH.to_owned(), Value::String(digest));
    Ok(())
}

/// Reads a row, and checks its key as the manager is going to that writes it.
pub(super) async fn key(fields: &Fields, reading: &Reading) -> Result<Key, Bad> {
    let key = if is_exported(fields) {
        Key::Stored(Exported::read(fields.clone()).and_then(Exported::key).map_err(Bad)?)
    } else {
        Key::New(read(fields, reading)?)
    };
    let empty = KeyManager::new(MemoryStore::new());
    let checked = match &key {
        Key::New(key) => empty.import(slice::from_ref(key)).await,
        Key::Stored(key) => empty.restore(slice::from_ref(key)).await,
    };
    match checked {
        Ok(_) => Ok(key),
        Err(ManageError::Invalid(invalid)) => {
            Err(Bad::field(theirs(invalid.field()), invalid.message()))
        }
        Err(error) => Err(Bad::new(error.to_string())),
    }
}

pub(super) fn is_exported(fields: &Fields) -> bool {
    fields.contains_key(exported::VERSION)
}

/// The column that a field comes from.
fn theirs(field: &'static str) -> &'static str {
    match field {
        "owner" => "user_id",
        "start" => "key_prefix",
        field => field,
    }
}

fn read(fields: &Fields, reading: &Reading) -> Result<ImportKey, Bad> {
    let time = |field: &str| {
        let value = fields.get(field).unwrap_or(&Value::Null);
        time::moment(field, value, &reading.times)
    };
    let end = fields.get("expires_at").unwrap_or(&Value::Null);
    let new = NewKey {
        name: text(fields, "name")?.unwrap_or_else(|| "imported key".to_owned()),
        description: text(fields, "description")?,
        owner: text(fields, "user_id")?.map(Into::into),
        scopes: scopes(fields)?,
        tier: text(fields, "tier")?,
        limits: limits(fields)?,
        credits: credits(fields)?,
        metadata: metadata(fields)?,
        allowed_addresses: addresses(fields)?,
        not_before: time("not_before")?,
        expires_at: time::end("expires_at", end, &reading.times)?,
        request_id: None,
    };
    let start = text(fields, "key_prefix")?.unwrap_or_default();
    let mut key = hashed(fields, start, new, reading)?;
    key.disabled = state(fields) != State::Active;
    key.created_at = time("created_at")?;
    key.last_used_at = time("last_used_at")?;
    Ok(key)
}

/// The key by its digest, or by the slow hash that is all there is of it.
fn hashed(
    fields: &Fields,
    start: String,
    mut new: NewKey,
    reading: &Reading,
) -> Result<ImportKey, Bad> {
    /// So much of a key is not the beginning of its digest by chance.
    const TELLING: usize = 8;

    let hash = text(fields, KEY_HASH)?.ok_or_else(|| Bad::field(KEY_HASH, "is missing"))?;
    if start.len() >= TELLING && hash.starts_with(&start) {
        let must = "begins like key_prefix, so it holds keys and no digests: say --plain-keys";
        return Err(Bad::field(KEY_HASH, must));
    }
    if let Some(digest) = digest::read(&hash, reading.base64_digests)? {
        if KeyHasher::sha256().digest(&start) == digest {
            return Err(Bad::field("key_prefix", "holds the whole key"));
        }
        let mut key = ImportKey::from_digest(digest, new);
        key.start = start.into();
        return Ok(key);
    }
    let slow = LegacyHash::parse(&hash).map_err(|error| match error {
        InvalidLegacyHash::UnknownScheme => Bad::field(
            KEY_HASH,
            "must be a SHA-256 digest, such as 64 hexadecimal digits, or a bcrypt or argon2 hash",
        ),
        error => Bad::new(format!("{KEY_HASH}: {error}")),
    })?;
    check_start(&start)?;
    // The hash gives way to a digest when the key is first used. This stays, and tells an import
    // that is repeated later that the key is there.
    let digest = KeyHasher::sha256().digest(&hash).to_hex();
    new.request_id = Some(format!("import-{digest}"));
    Ok(ImportKey::from_legacy_hash(slow, start, new))
}

/// A slow hash is found by how its key begins. No key begins like a mask.
fn check_start(start: &str) -> Result<(), Bad> {
    /// With less to go by, every unknown key would have to be hashed slowly.
    const MIN_START: usize = 4;
    if start.len() < MIN_START {
        let must =
            "must have the first four characters of the key, or more, to find a slow hash by";
        return Err(Bad::field("key_prefix", must));
    }
    let is_masked = start.contains(['*', '\u{2022}', '\u{25cf}', '\u{2026}'])
        || start.contains("..")
        || start.to_ascii_lowercase().contains("xxx");
    if is_masked {
        let must = "must have the first characters of the key as they are, not masked, to find a \
                    slow hash by";
        return Err(Bad::field("key_prefix", must));
    }
    Ok(())
}

/// `None` where there is nothing: a CSV file cannot tell that from an empty text.
fn text(fields: &Fields, field: &str) -> Result<Option<String>, Bad> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        // User ids often are.
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Bad::field(field, "must be text")),
    }
}

/// A list, or the text of systems without lists: JSON, PostgreSQL's `{a,b}`, or the items
/// with commas or spaces between them.
fn list(fields: &Fields, field: &str) -> Result<Vec<String>, Bad> {
    let bad = || Bad::field(field, "must be a list of texts");
    let text = match fields.get(field) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => return texts(items).ok_or_else(bad),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(bad()),
    };
    if text.starts_with('[') {
        let items: Vec<Value> = serde_json::from_str(text).map_err(|_| bad())?;
        return texts(&items).ok_or_else(bad);
    }
    if text == "null" {
        return Ok(Vec::new());
    }
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let items = inner.split(|c: char| c == ',' || c.is_whitespace());
    let items = items.map(|item| item.trim_matches('"')).filter(|item| !item.is_empty());
    Ok(items.map(str::to_owned).collect())
}

fn texts(items: &[Value]) -> Option<Vec<String>> {
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn scopes(fields: &Fields) -> Result<Scopes, Bad> {
    let must = "must be visible ASCII, joined by `:`, with `*` only at the end";
    Scopes::parse(list(fields, "scopes")?).map_err(|_| Bad::field("scopes", must))
}

fn addresses(fields: &Fields) -> Result<Vec<IpNet>, Bad> {
    let must = "must be networks such as 10.0.0.0/8, or addresses";
    let networks = list(fields, "allowed_addresses")?;
    let networks = networks.iter().map(|text| create::network(text));
    networks.collect::<Result<_, _>>().map_err(|_| Bad::field("allowed_addresses", must))
}

fn limits(fields: &Fields) -> Result<Limits, Bad> {
    let must = "must be a list of limits, each with name, requests and window_seconds";
    Ok(json(fields, "limits", must)?.unwrap_or_default())
}

fn credits(fields: &Fields) -> Result<Option<NewCredits>, Bad> {
    json(fields, "credits", "must be a number, or an object with remaining and refill")
}

/// A value as JSON, or as a text that holds it.
fn json<T: DeserializeOwned>(fields: &Fields, field: &str, must: &str) -> Result<Option<T>, Bad> {
    let read = match fields.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => serde_json::from_str(text),
        Some(value) => T::deserialize(value),
    };
    read.map(Some).map_err(|_| Bad::field(field, must))
}

fn metadata(fields: &Fields) -> Result<Metadata, Bad> {
    let bad = || Bad::field("metadata", "must be a JSON object");
    match fields.get("metadata") {
        None | Some(Value::Null) => Ok(Metadata::new()),
        Some(Value::Object(metadata)) => Ok(metadata.clone()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Metadata::new()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| bad()),
        Some(_) => Err(bad()),
    }
}
