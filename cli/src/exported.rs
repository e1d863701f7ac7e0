//! A row of an export: everything about a key, in JSON and in CSV, and back.
//!
//! `export` and `import` are inverse, so both use this one description. In CSV, a cell is a text or
//! JSON, by its column:
//!
//! - A text is as it is. One that is empty, or begins with a character that spreadsheets take for
//!   the start of a formula, has an apostrophe before it, and so has one that begins with an
//!   apostrophe. Reading takes one apostrophe away.
//! - Lists, objects, numbers and truth values are JSON, so that `["read,write"]` is one scope.
//! - An empty cell is null.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use tower_api_key::{
    KeyId, NewKey, OwnerId, Scopes, Timestamp,
    credits::{Balance, Refill},
    key::{KeyDigest, KeyRecord, LegacyHash, Metadata, Needs, Rotation, Text},
    limit::Limits,
    manage::{ImportKey, RestoreKey},
};

/// A row, by column.
pub(crate) type Fields = Map<String, Value>;

/// The column that only an export has: other systems' tables have none of this name.
pub(crate) const VERSION: &str = "export_version";
const THIS_VERSION: u64 = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    Text,
    Json,
}

/// The columns, in their order.
pub(crate) const COLUMNS: [(&str, Cell); 29] = [
    ("key_hash", Cell::Text),
    ("key_prefix", Cell::Text),
    ("name", Cell::Text),
    ("user_id", Cell::Text),
    ("scopes", Cell::Json),
    ("is_active", Cell::Json),
    ("expires_at", Cell::Text),
    ("last_used_at", Cell::Text),
    ("created_at", Cell::Text),
    ("description", Cell::Text),
    ("tier", Cell::Text),
    ("limits", Cell::Json),
    ("credits", Cell::Json),
    ("not_before", Cell::Text),
    ("allowed_addresses", Cell::Json),
    ("metadata", Cell::Json),
    ("revoked_at", Cell::Text),
    ("revoked_reason", Cell::Text),
    ("rotation", Cell::Json),
    ("id", Cell::Text),
    ("updated_at", Cell::Text),
    ("use_count", Cell::Json),
    ("last_used_from", Cell::Text),
    ("revision", Cell::Json),
    ("created_by", Cell::Text),
    ("disabled_by_owner", Cell::Json),
    ("unknown_needs", Cell::Json),
    ("request", Cell::Text),
    (VERSION, Cell::Json),
];

/// Those that are written with `--with-digests` only.
pub(crate) const DIGESTS: [&str; 2] = ["key_hash", "request"];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exported {
    /// The digest in hexadecimal, or the slow hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hash: Option<String>,
    key_prefix: Option<Text>,
    name: Text,
    user_id: Option<OwnerId>,
    scopes: Vec<String>,
    is_active: bool,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
    description: Option<Text>,
    tier: Option<Text>,
    limits: Limits,
    credits: Option<Credits>,
    not_before: Option<Timestamp>,
    allowed_addresses: Vec<String>,
    #[serde(serialize_with = "write_metadata", deserialize_with = "read_metadata")]
    metadata: Metadata,
    revoked_at: Option<Timestamp>,
    revoked_reason: Option<Text>,
    rotation: Option<Turn>,
    id: KeyId,
    updated_at: Timestamp,
    use_count: u64,
    last_used_from: Option<IpAddr>,
    revision: u64,
    created_by: Option<KeyId>,
    disabled_by_owner: bool,
    /// The bits of [`Needs`] that the exporting program did not know.
    unknown_needs: u64,
    /// The hash of the request that created the key, in hexadecimal, where digests are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[allow(clippy::option_option, reason = "it is left out, or there is none, or there is one")]
    request: Option<Option<String>>,
    export_version: u64,
}

/// That a key spends credits, and the balance of its lineage.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credits {
    epoch: u64,
    balance: Option<Amount>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    remaining: u64,
    refill: Option<Refill>,
    since: Timestamp,
    next_refill_at: Option<Timestamp>,
    granted: i64,
    epoch: u64,
    revision: u64,
}

/// A part in a rotation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    lineage: Option<KeyId>,
    from: Option<KeyId>,
    to: Option<KeyId>,
    rotated_at: Option<Timestamp>,
    retires_at: Option<Timestamp>,
    grace_after_use: Option<u64>,
    is_awaited: bool,
}

impl Exported {
    pub(crate) fn new(record: &KeyRecord, balance: Option<&Balance>, with_digests: bool) -> Self {
        let details = &*record.details;
        let key_hash = || match &details.legacy_hash {
            Some(hash) => slow_hash_text(hash),
            None => record.digest.to_hex(),
        };
        let request = || details.request.as_ref().map(KeyDigest::to_hex);
        Self {
            key_hash: with_digests.then(key_hash),
            key_prefix: (!record.start.is_empty()).then(|| record.start.clone().into()),
            name: record.name.clone(),
            user_id: record.owner.clone(),
            scopes: record.scopes.iter().map(str::to_owned).collect(),
            is_active: !record.disabled,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
            created_at: record.created_at,
            description: details.description.clone(),
            tier: details.tier.clone(),
            limits: details.limits.clone(),
            credits: details
                .credits
                .map(|epoch| Credits { epoch, balance: balance.map(Amount::new) }),
            not_before: record.details.not_before,
            allowed_addresses: details.allowed_addresses.iter().map(ToString::to_string).collect(),
            metadata: details.metadata.clone(),
            revoked_at: record.details.revoked_at,
            revoked_reason: details.revoked_reason.clone(),
            rotation: Turn::new(&details.rotation),
            id: record.id,
            updated_at: record.updated_at,
            use_count: record.use_count,
            last_used_from: details.last_used_from,
            revision: record.revision,
            created_by: details.created_by,
            disabled_by_owner: details.disabled_by_owner,
            unknown_needs: details.unknown_needs.bits(),
            request: with_digests.then(request),
            export_version: THIS_VERSION,
        }
    }

    /// Reads a row. An error names the fault, and does not show the value.
    pub(crate) fn read(fields: Fields) -> Result<Self, String> {
        if fields.get(VERSION).and_then(Value::as_u64) != Some(THIS_VERSION) {
            return Err(format!("{VERSION} must be {THIS_VERSION}"));
        }
        let missing = COLUMNS.iter().find(|(column, _)| !fields.contains_key(*column));
        if let Some((column, _)) = missing {
            return Err(format!("{column} is missing, which an export has"));
        }
        let column_of = |column: &str| COLUMNS.iter().any(|(known, _)| *known == column);
        if fields.keys().any(|column| !column_of(column)) {
            return Err("has a column that no export has".to_owned());
        }
        serde_json::from_value(Value::Object(fields))
            .map_err(|_| "has a value that is not one of its column".to_owned())
    }

    /// The key that the row tells of.
    pub(crate) fn key(self) -> Result<RestoreKey, String> {
        let bad = |column: &str| format!("{column} is not what an export has there");
        let hash = self.key_hash.as_deref().ok_or_else(|| bad("key_hash"))?;
        let legacy_hash = slow_hash(hash);
        let digest = match &legacy_hash {
            Some(hash) => ImportKey::from_legacy_hash(hash.clone(), "", NewKey::default()).digest,
            None => KeyDigest::from_hex(hash).ok_or_else(|| bad("key_hash"))?,
        };
        let mut record = KeyRecord::new(self.id, digest, self.name, self.created_at);
        record.start = self.key_prefix.unwrap_or_default().into();
        record.owner = self.user_id;
        record.scopes = Scopes::parse(self.scopes).map_err(|_| bad("scopes"))?;
        record.disabled = !self.is_active;
        record.updated_at = self.updated_at;
        record.expires_at = self.expires_at;
        record.last_used_at = self.last_used_at;
        record.use_count = self.use_count;
        record.revision = self.revision;
        let networks = self.allowed_addresses.iter().map(|text| text.parse());
        let networks: Result<Vec<_>, _> = networks.collect();
        let details = &mut record.details;
        details.allowed_addresses = networks.map_err(|_| bad("allowed_addresses"))?.into();
        details.description = self.description;
        details.tier = self.tier;
        details.limits = self.limits;
        details.metadata = self.metadata;
        details.not_before = self.not_before;
        details.revoked_at = self.revoked_at;
        details.revoked_reason = self.revoked_reason;
        details.last_used_from = self.last_used_from;
        details.created_by = self.created_by;
        details.disabled_by_owner = self.disabled_by_owner;
        details.unknown_needs = Needs::from_bits(self.unknown_needs);
        // A restriction that this program knows, and the exporting one did not, is missing from the
        // row: the key would come back without it. Databases keep the bits as a signed number.
        let is_kept = i64::try_from(self.unknown_needs).is_ok();
        if !is_kept || details.unknown_needs.unknown() != details.unknown_needs {
            return Err(bad("unknown_needs"));
        }
        details.legacy_hash = legacy_hash;
        if let Some(request) = self.request.flatten() {
            details.request = Some(KeyDigest::from_hex(&request).ok_or_else(|| bad("request"))?);
        }
        if let Some(turn) = self.rotation {
            turn.set(&mut details.rotation);
        }
        details.credits = self.credits.as_ref().map(|credits| credits.epoch);
        let mut key = RestoreKey::new(record);
        key.balance = self.credits.and_then(|credits| credits.balance).map(Amount::balance);
        Ok(key)
    }
}

/// How a slow hash is told from a digest that does not look like one.
const SLOW: &str = "slow:";

fn slow_hash_text(hash: &LegacyHash) -> String {
    let text = hash.expose();
    if text.starts_with('$') { text.to_owned() } else { format!("{SLOW}{text}") }
}

fn slow_hash(text: &str) -> Option<LegacyHash> {
    let slow = text.strip_prefix(SLOW).or_else(|| text.starts_with('$').then_some(text));
    slow.map(LegacyHash::new)
}

impl Amount {
    fn new(balance: &Balance) -> Self {
        Self {
            remaining: balance.remaining,
            refill: balance.refill,
            since: balance.since,
            next_refill_at: balance.next_refill_at,
            granted: balance.granted,
            epoch: balance.epoch,
            revision: balance.revision,
        }
    }

    fn balance(self) -> Balance {
        let mut balance = Balance::new(self.remaining, self.refill, self.since);
        balance.next_refill_at = self.next_refill_at;
        balance.granted = self.granted;
        balance.epoch = self.epoch;
        balance.revision = self.revision;
        balance
    }
}

impl Turn {
    fn new(rotation: &Rotation) -> Option<Self> {
        (*rotation != Rotation::default()).then_some(Self {
            lineage: rotation.lineage,
            from: rotation.from,
            to: rotation.to,
            rotated_at: rotation.rotated_at,
            retires_at: rotation.retires_at,
            grace_after_use: rotation.grace_after_use,
            is_awaited: rotation.is_awaited,
        })
    }

    fn set(self, rotation: &mut Rotation) {
        rotation.lineage = self.lineage;
        rotation.from = self.from;
        rotation.to = self.to;
        rotation.rotated_at = self.rotated_at;
        rotation.retires_at = self.retires_at;
        rotation.grace_after_use = self.grace_after_use;
        rotation.is_awaited = self.is_awaited;
    }
}

/// An object, or the text of one that is nested so deeply that a row with it could not be read.
fn write_metadata<S: Serializer>(metadata: &Metadata, serializer: S) -> Result<S::Ok, S::Error> {
    /// Parsers of JSON go 127 levels deep, and the row is one of them.
    const DEEP: usize = 100;
    if metadata.values().map(depth).max().unwrap_or(0) < DEEP {
        return metadata.serialize(serializer);
    }
    let text = serde_json::to_string(metadata).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

fn read_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Object(metadata) => Ok(metadata),
        Value::String(text) => serde_json::from_str(&text).map_err(D::Error::custom),
        _ => Err(D::Error::custom("neither an object nor the text of one")),
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

/// The cells of a row, in the order of these columns.
pub(crate) fn cells(row: &Exported, columns: &[(&str, Cell)]) -> serde_json::Result<Vec<String>> {
    let fields = serde_json::to_value(row)?;
    Ok(columns.iter().map(|(column, kind)| cell(*kind, &fields[*column])).collect())
}

fn cell(kind: Cell, value: &Value) -> String {
    match (kind, value) {
        (_, Value::Null) => String::new(),
        (Cell::Text, Value::String(text)) if is_marked(text) => format!("{MARK}{text}"),
        (Cell::Text, Value::String(text)) => text.clone(),
        (_, value) => value.to_string(),
    }
}

/// A cell of this column, read; `None` if it is no value of this column.
pub(crate) fn value(column: &str, cell: &str) -> Option<Value> {
    let kind = COLUMNS.iter().find(|(known, _)| *known == column).map(|(_, kind)| *kind);
    match kind {
        _ if cell.is_empty() => Some(Value::Null),
        Some(Cell::Json) => serde_json::from_str(cell).ok(),
        Some(Cell::Text) | None => Some(cell.strip_prefix(MARK).unwrap_or(cell).into()),
    }
}

const MARK: char = '\'';

/// Whether a text has a [`MARK`] before it: an empty one, which is another than none, one that has
/// such a mark itself, and one that a spreadsheet would compute (OWASP, "CSV Injection").
fn is_marked(text: &str) -> bool {
    const FORMULA: [char; 12] = [
        '=', '+', '-', '@', '\t', '\r', '\n', MARK, '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    text.is_empty() || text.starts_with(FORMULA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_cells_are_no_formulas_and_read_back() {
        for text in
            ["", "'", "''", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "a", "NULL"]
        {
            let cell = cell(Cell::Text, &text.into());
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
            assert!(!cell.is_empty());
            assert_eq!(value("name", &cell), Some(text.into()), "{cell:?}");
        }
        assert_eq!(value("name", &cell(Cell::Text, &Value::Null)), Some(Value::Null));
    }

    #[test]
    fn columns_are_the_members() {
        let id = "01a20719-fd59-7271-80d4-e404c10c6d21".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let record = KeyRecord::new(id, KeyDigest::from_bytes([0; 32]), "name", now);
        let value = serde_json::to_value(Exported::new(&record, None, true)).unwrap();
        let mut columns = COLUMNS.map(|(column, _)| column);
        columns.sort_unstable();
        let members: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(members, columns);
    }
}
