//! A row of another system's table, read as a key.
//!
//! Whatever is wrong is said with the column's name and what it must hold, never with what it
//! does hold: with columns mixed up, that may be a key.

use std::fmt;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower_api_key::{
    ImportKey, InvalidLegacyHash, KeyDigest, KeyFormat, KeyHasher, KeyManager, LegacyHash, Limits,
    ManageError, Metadata, NewCredits, NewKey, Scopes, Timestamp, store::MemoryStore,
};

use super::columns::{Fields, KEY_HASH};
use crate::{create, when};

/// What is wrong with a row.
#[derive(Debug)]
pub(super) struct Bad(String);

impl Bad {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn field(field: &str, must: &str) -> Self {
        Self(format!("{field} {must}"))
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the key came to its end there. Then it is not to come alive here.
pub(super) fn has_ended(fields: &Fields) -> bool {
    ["revoked_at", "deleted_at"].into_iter().any(|field| match fields.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !matches!(text.trim(), "" | "0" | "f" | "false" | "False"),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    })
}

/// Puts the digest in the place of the key itself.
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

/// The key in a row. Checked like a new one.
pub(super) async fn key(fields: &Fields) -> Result<ImportKey, Bad> {
    let key = read(fields)?;
    // A manager without keys checks it as the real one is going to.
    let checked = KeyManager::new(MemoryStore::new()).import(std::slice::from_ref(&key)).await;
    match checked {
        Ok(_) => Ok(key),
        Err(ManageError::Invalid(invalid)) => {
            Err(Bad::field(theirs(invalid.field()), invalid.message()))
        }
        Err(error) => Err(Bad::new(error.to_string())),
    }
}

/// The column that a field comes from.
fn theirs(field: &'static str) -> &'static str {
    match field {
        "owner" => "user_id",
        "start" => "key_prefix",
        field => field,
    }
}

fn read(fields: &Fields) -> Result<ImportKey, Bad> {
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
        not_before: time(fields, "not_before")?,
        expires_at: time(fields, "expires_at")?,
        request_id: None,
    };
    let start = text(fields, "key_prefix")?.unwrap_or_default();
    let mut key = hashed(fields, start, new)?;
    key.disabled = !is_active(fields)?;
    key.created_at = time(fields, "created_at")?;
    key.last_used_at = time(fields, "last_used_at")?;
    Ok(key)
}

/// The key by its digest, or by the slow hash that is all there is of it.
fn hashed(fields: &Fields, start: String, mut new: NewKey) -> Result<ImportKey, Bad> {
    /// With less to go by, every unknown key would have to be hashed slowly.
    const MIN_START: usize = 4;

    let hash = text(fields, KEY_HASH)?.ok_or_else(|| Bad::field(KEY_HASH, "is missing"))?;
    // PostgreSQL writes bytes like this.
    let hex = hash.strip_prefix("\\x").unwrap_or(&hash);
    if let Some(digest) = KeyDigest::from_hex(hex) {
        if KeyHasher::sha256().digest(&start) == digest {
            return Err(Bad::field("key_prefix", "holds the whole key"));
        }
        let mut key = ImportKey::from_digest(digest, new);
        key.start = start.into();
        return Ok(key);
    }
    let slow = LegacyHash::parse(&hash).map_err(|error| match error {
        InvalidLegacyHash::UnknownScheme => {
            Bad::field(KEY_HASH, "must have 64 hexadecimal digits, or be a bcrypt or argon2 hash")
        }
        error => Bad::new(format!("{KEY_HASH}: {error}")),
    })?;
    if start.len() < MIN_START {
        let must =
            "must have the first four characters of the key, or more, to find a slow hash by";
        return Err(Bad::field("key_prefix", must));
    }
    // The hash gives way to a digest when the key is first used. This stays, and tells an import
    // that is repeated later that the key is there.
    let digest = KeyHasher::sha256().digest(&hash).to_hex();
    new.request_id = Some(format!("import-{digest}"));
    Ok(ImportKey::from_legacy_hash(slow, start, new))
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

/// Where there is no such column, keys are active. Where it is empty, nobody said that this one
/// is.
fn is_active(fields: &Fields) -> Result<bool, Bad> {
    let Some(value) = fields.get("is_active") else { return Ok(true) };
    let word = match value {
        Value::Null => return Ok(false),
        Value::Bool(active) => return Ok(*active),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_ascii_lowercase(),
        _ => String::from("?"),
    };
    match word.as_str() {
        "1" | "t" | "true" | "y" | "yes" => Ok(true),
        "" | "0" | "f" | "false" | "n" | "no" => Ok(false),
        _ => Err(Bad::field("is_active", "must be true or false, or 1 or 0")),
    }
}

fn time(fields: &Fields, field: &str) -> Result<Option<Timestamp>, Bad> {
    let bad = || Bad::field(field, "must be a date and time, or seconds since 1970");
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => match text.trim().parse::<f64>() {
            // CSV has no numbers.
            Ok(number) => since_1970(number).map(Some).ok_or_else(bad),
            Err(_) => when::moment(text.trim()).map(Some).ok_or_else(bad),
        },
        Some(Value::Number(number)) => {
            number.as_f64().and_then(since_1970).map(Some).ok_or_else(bad)
        }
        Some(_) => Err(bad()),
    }
}

/// Seconds, or milliseconds where that many seconds would lie beyond the year 5000.
fn since_1970(number: f64) -> Option<Timestamp> {
    const AS_SECONDS: f64 = 1e11;
    const LAST: f64 = 253_402_207_200_000.0;
    let millis = if number.abs() < AS_SECONDS { number * 1000.0 } else { number };
    #[allow(clippy::cast_possible_truncation, reason = "within the bounds, there is no more")]
    let whole = millis.round() as i64;
    (millis.abs() <= LAST).then(|| Timestamp::from_unix_millis(whole))
}

/// A list, or what systems without lists write instead: JSON, PostgreSQL's `{a,b}`, or the items
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
