//! A key as JSON.
//!
//! Without what an update leaves alone: the scripts add `created_at`, and keep `use_count`,
//! `last_used_at` and `last_used_from` elsewhere. `revision` and `credits` are text, because Lua's
//! numbers are doubles; times are small enough to be exact.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    key::{
        Details, KeyDetails, KeyDigest, KeyId, KeyRecord, LegacyHash, Needs, OwnerId, Rotation,
        Scopes,
    },
    text::Text,
};

pub(crate) fn write(record: &KeyRecord) -> String {
    let text = |text: &str| Some(Value::from(text));
    let optional = |text: Option<&str>| text.map(Value::from);
    let time = |time: Option<Timestamp>| time.map(|time| Value::from(time.as_unix_millis()));
    let id = |id: Option<KeyId>| id.map(|id| Value::from(id.to_string()));
    let details = &*record.details;
    let needs = details.needs();
    let rotation = &details.rotation;
    let addresses = details.allowed_addresses.iter().map(ToString::to_string);
    let scopes = record.scopes.iter().map(ToString::to_string);
    // It cannot fail. If it did, a key without limits would be worse than one that is not readable.
    let limits = || serde_json::to_value(&details.limits).unwrap_or_default();
    let fields = [
        ("id", id(Some(record.id))),
        ("digest", text(&record.digest.to_hex())),
        ("start", text(&record.start)),
        ("name", text(&record.name)),
        ("description", optional(details.description.as_deref())),
        ("owner", optional(record.owner.as_ref().map(OwnerId::as_str))),
        ("scopes", Some(scopes.collect())),
        ("tier", optional(details.tier.as_deref())),
        ("limits", (!details.limits.is_empty()).then(limits)),
        ("credits", details.credits.map(|epoch| Value::from(epoch.to_string()))),
        ("metadata", Some(Value::Object(details.metadata.clone()))),
        ("allowed_addresses", Some(addresses.collect())),
        ("disabled", Some(Value::from(record.disabled))),
        ("updated_at", time(Some(record.updated_at))),
        ("not_before", time(details.not_before)),
        ("expires_at", time(record.expires_at)),
        ("revoked_at", time(details.revoked_at)),
        ("revoked_reason", optional(details.revoked_reason.as_deref())),
        ("deleted_at", time(details.deleted_at)),
        ("lineage", id(rotation.lineage)),
        ("rotated_from", id(rotation.from)),
        ("rotated_to", id(rotation.to)),
        ("rotated_at", time(rotation.rotated_at)),
        ("retires_at", time(rotation.retires_at)),
        ("grace_after_use", rotation.grace_after_use.map(Value::from)),
        ("is_awaited", rotation.is_awaited.then_some(Value::Bool(true))),
        ("request", details.request.map(|request| Value::from(request.to_hex()))),
        ("created_by", id(details.created_by)),
        ("needs", (!needs.is_empty()).then(|| Value::from(needs.bits().to_string()))),
        ("disabled_by_owner", details.disabled_by_owner.then_some(Value::Bool(true))),
        ("legacy_hash", optional(details.legacy_hash.as_ref().map(LegacyHash::expose))),
        ("revision", text(&record.revision.to_string())),
    ];
    object(fields)
}

/// JSON of these fields. Those that are not set are left out.
pub(super) fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> String {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect()).to_string()
}

/// When a key was last used, and from where, as the scripts keep it.
pub(crate) fn write_last_use(record: &KeyRecord) -> String {
    let at = record.last_used_at.map(|at| at.as_unix_millis().to_string()).unwrap_or_default();
    match record.details.last_used_from {
        Some(address) => format!("{at} {address}"),
        None => at,
    }
}

/// Reads the text of [`write_last_use`].
fn read_last_use(text: &str) -> Result<(Option<Timestamp>, Option<IpAddr>), Unreadable> {
    let (at, from) = text.split_once(' ').map_or((text, None), |(at, from)| (at, Some(from)));
    let at = (!at.is_empty()).then(|| at.parse().map(Timestamp::from_unix_millis)).transpose();
    let from = from.map(str::parse).transpose();
    Ok((
        at.map_err(|_| Unreadable("last_used_at"))?,
        from.map_err(|_| Unreadable("last_used_from"))?,
    ))
}

/// The record of a key, from what the scripts return of it.
pub(crate) fn read(
    json: &str,
    uses: Option<&str>,
    last_used: Option<&str>,
) -> Result<KeyRecord, Unreadable> {
    let mut fields = Fields::parse(json)?;
    let id = fields.id("id")?.ok_or(Unreadable("id"))?;
    let digest = fields.parsed("digest", KeyDigest::from_hex)?;
    let created_at = fields.time("created_at")?.ok_or(Unreadable("created_at"))?;
    let name = fields.text("name")?.ok_or(Unreadable("name"))?;
    let mut record = KeyRecord::new(id, digest, name, created_at);
    record.start = fields.text("start")?.ok_or(Unreadable("start"))?.into();
    record.owner = fields.text("owner")?.map(OwnerId::new);
    record.scopes = Scopes::parse(fields.texts("scopes")?).map_err(|_| Unreadable("scopes"))?;
    let metadata = fields.required("metadata", |value| match value {
        Value::Object(metadata) => Some(metadata),
        _ => None,
    })?;
    let addresses = fields.texts("allowed_addresses")?;
    let addresses = addresses.iter().map(|network| network.parse::<IpNet>());
    let addresses = addresses.collect::<Result<_, _>>();
    record.disabled = fields.required("disabled", |value| value.as_bool())?;
    record.updated_at = fields.time("updated_at")?.ok_or(Unreadable("updated_at"))?;
    record.expires_at = fields.time("expires_at")?;
    let (last_used_at, last_used_from) = read_last_use(last_used.unwrap_or_default())?;
    record.last_used_at = last_used_at;
    let needs = fields.optional("needs", |value| value.as_str()?.parse().ok())?;
    record.details = Details::from(KeyDetails {
        description: fields.text("description")?,
        tier: fields.text("tier")?,
        limits: fields
            .optional("limits", |value| serde_json::from_value(value).ok())?
            .unwrap_or_default(),
        credits: fields.optional("credits", |value| value.as_str()?.parse().ok())?,
        metadata,
        allowed_addresses: addresses.map_err(|_| Unreadable("allowed_addresses"))?,
        not_before: fields.time("not_before")?,
        revoked_at: fields.time("revoked_at")?,
        revoked_reason: fields.text("revoked_reason")?,
        deleted_at: fields.time("deleted_at")?,
        last_used_from,
        rotation: Rotation {
            lineage: fields.id("lineage")?,
            from: fields.id("rotated_from")?,
            to: fields.id("rotated_to")?,
            rotated_at: fields.time("rotated_at")?,
            retires_at: fields.time("retires_at")?,
            grace_after_use: fields.optional("grace_after_use", |value| value.as_u64())?,
            is_awaited: fields.optional("is_awaited", |value| value.as_bool())?.unwrap_or(false),
        },
        request: fields.optional("request", |value| KeyDigest::from_hex(value.as_str()?))?,
        created_by: fields.id("created_by")?,
        unknown_needs: needs.map(Needs::from_bits).unwrap_or_default().unknown(),
        disabled_by_owner: fields
            .optional("disabled_by_owner", |value| value.as_bool())?
            .unwrap_or(false),
        legacy_hash: fields.text("legacy_hash")?.map(LegacyHash::new),
    });
    record.revision = fields.parsed("revision", |text| text.parse().ok())?;
    record.use_count = uses.map_or(Ok(0), str::parse).map_err(|_| Unreadable("use_count"))?;
    Ok(record)
}

/// The fields of an object that are still to be read.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(json: &str) -> Result<Self, Unreadable> {
        serde_json::from_str(json).map(Self).map_err(|_| Unreadable("JSON"))
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Unreadable> {
        self.0.remove(name).map(|value| read(value).ok_or(Unreadable(name))).transpose()
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, Unreadable> {
        self.optional(name, read)?.ok_or(Unreadable(name))
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<Text>, Unreadable> {
        self.optional(name, |value| match value {
            Value::String(text) => Some(text.into()),
            _ => None,
        })
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Unreadable> {
        self.required(name, |value| parse(value.as_str()?))
    }

    pub(super) fn id(&mut self, name: &'static str) -> Result<Option<KeyId>, Unreadable> {
        self.optional(name, |value| value.as_str()?.parse().ok())
    }

    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Unreadable> {
        self.optional(name, |value| value.as_i64().map(Timestamp::from_unix_millis))
    }

    fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Unreadable> {
        self.required(name, |value| serde_json::from_value(value).ok())
    }
}

/// The part of a key, a balance or a request that cannot be read. Not what stands there: it may be a
/// digest.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(super) &'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of a row in Redis is missing or cannot be read", self.0)
    }
}

impl std::error::Error for Unreadable {}
