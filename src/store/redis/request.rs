//! A request that was done once, as JSON. The scripts add `at`.

use serde_json::Value;

use super::record::{Fields, Unreadable, object};
use crate::{key::KeyDigest, store::requests::RequestRecord};

pub(crate) fn write(request: &RequestRecord) -> String {
    let text = |text: &str| Some(Value::from(text));
    object([
        ("line", text(&request.lineage.to_string())),
        ("request", text(&request.request.to_hex())),
        ("act", text(&request.act)),
        ("key", text(&request.key.to_string())),
        ("amount", text(&request.amount.to_string())),
        ("actor", request.actor.as_deref().map(Value::from)),
        ("result", text(&request.result)),
    ])
}

pub(crate) fn read(json: &str) -> Result<RequestRecord, Unreadable> {
    let mut fields = Fields::parse(json)?;
    let lineage = fields.id("line")?.ok_or(Unreadable("line"))?;
    let request = fields.parsed("request", KeyDigest::from_hex)?;
    let act = fields.text("act")?.ok_or(Unreadable("act"))?;
    let key = fields.id("key")?.ok_or(Unreadable("key"))?;
    let mut record = RequestRecord::new(lineage, request, act, key);
    record.at = fields.time("at")?.ok_or(Unreadable("at"))?;
    record.amount = fields.parsed("amount", |text| text.parse().ok())?;
    record.actor = fields.text("actor")?;
    record.result = fields.text("result")?.ok_or(Unreadable("result"))?;
    Ok(record)
}

/// Where it is kept.
pub(super) fn field(lineage: crate::key::KeyId, request: &KeyDigest) -> String {
    format!("{lineage}:{}", request.to_hex())
}
