//! A row in Redis is read as it was written, or not at all; never as a key that may do more.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::choices::Choices;
use crate::{
    clock::Timestamp,
    key::{KeyRecord, Needs},
    store::redis::{balance, record, request},
};

/// A key of every field.
const WHOLE: &str = include_str!("redis_record.json");

/// What is read is written and read back; each restriction in the row is one of the key.
pub fn redis_records(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (uses, last_used) = (choices.text(24), choices.text(64));
    let json = match choices.below(4) {
        0 => String::from_utf8_lossy(choices.rest()).into_owned(),
        _ => changed(choices),
    };
    let optional = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let (uses, last_used) = (optional(&uses), optional(&last_used));
    if let Ok(found) = record::read(&json, uses.as_deref(), last_used.as_deref()) {
        says_no_more(&json, &found);
        assert_eq!(found.use_count, uses.map_or(0, |uses| uses.parse().unwrap()));
        let last_use = record::write_last_use(&found);
        assert_eq!(
            record::read(
                &with_created_at(&found),
                Some(&found.use_count.to_string()),
                Some(&last_use)
            )
            .unwrap(),
            found
        );
        if let Some(address) = found.details.last_used_from {
            assert!(
                last_used.unwrap().ends_with(&address.to_string())
                    || address != IpAddr::from([0; 4])
            );
        }
    }
    if let Ok(found) = balance::read(&json) {
        assert_eq!(balance::read(&balance::write(&found)).unwrap(), found);
    }
    if let Ok(found) = request::read(&json) {
        let mut fields: Map<String, Value> = serde_json::from_str(&request::write(&found)).unwrap();
        fields.insert("at".to_owned(), found.at.as_unix_millis().into());
        assert_eq!(request::read(&Value::Object(fields).to_string()).unwrap(), found);
    }
}

/// A whole key with some of its fields exchanged, or taken away.
fn changed(mut choices: Choices<'_>) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(WHOLE).unwrap();
    let names: Vec<String> = fields.keys().cloned().collect();
    for _ in 0..choices.below(6) {
        let name = choices.pick(&names);
        let value = match choices.below(10) {
            0 => {
                fields.remove(name);
                continue;
            }
            1 => Value::Null,
            2 => choices.is().into(),
            3 => choices.number().into(),
            4 => choices.number().cast_signed().into(),
            5 => choices.number().to_string().into(),
            6 => choices.text(20).into(),
            7 => Value::Array(vec![choices.text(20).into()]),
            8 => Value::Object(Map::new()),
            _ => fields.get(choices.pick(&names)).cloned().unwrap_or_default(),
        };
        fields.insert(name.clone(), value);
    }
    Value::Object(fields).to_string()
}

/// The record as the scripts keep it.
fn with_created_at(record: &KeyRecord) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(&record::write(record)).unwrap();
    fields.insert("created_at".to_owned(), record.created_at.as_unix_millis().into());
    Value::Object(fields).to_string()
}

fn says_no_more(json: &str, record: &KeyRecord) {
    let fields: Map<String, Value> = serde_json::from_str(json).unwrap();
    let (details, rotation) = (&record.details, &record.details.rotation);
    for (name, read) in [
        ("not_before", details.not_before),
        ("expires_at", record.expires_at),
        ("revoked_at", details.revoked_at),
        ("deleted_at", details.deleted_at),
        ("retires_at", rotation.retires_at),
        ("rotated_at", rotation.rotated_at),
    ] {
        let said = fields.get(name).map(|said| Timestamp::from_unix_millis(said.as_i64().unwrap()));
        assert_eq!(read, said, "{name}");
    }
    let texts =
        |name: &str| -> Vec<String> { serde_json::from_value(fields[name].clone()).unwrap() };
    let addresses: Vec<_> = details.allowed_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses.len(), texts("allowed_addresses").len());
    let scopes = texts("scopes");
    assert!(record.scopes.iter().all(|scope| scopes.iter().any(|said| said == scope)));
    assert_eq!(Value::from(record.disabled), fields["disabled"]);
    let limits = fields.get("limits").map_or(0, |limits| limits.as_array().unwrap().len());
    assert_eq!(details.limits.len(), limits);
    for (limit, said) in details
        .limits
        .iter()
        .zip(fields.get("limits").into_iter().flat_map(|all| all.as_array().unwrap()))
    {
        assert_eq!(said["requests"], limit.quota().requests().get());
        assert!(
            said["burst"].is_null()
                || limit.quota().burst().get()
                    <= u32::try_from(said["burst"].as_u64().unwrap()).unwrap()
        );
    }
    let credits = fields.get("credits").map(|epoch| epoch.as_str().unwrap().parse().unwrap());
    assert_eq!(details.credits, credits);
    let needs = fields.get("needs").map_or(0, |bits| bits.as_str().unwrap().parse().unwrap());
    assert_eq!(details.unknown_needs, Needs::from_bits(needs).unknown());
    assert_eq!(record.digest.to_hex(), fields["digest"].as_str().unwrap().to_lowercase());
}
