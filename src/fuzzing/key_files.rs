//! A file of keys holds what it says, or is refused whole, by an error that shows nothing of it.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Map, Value};

use super::choices::Choices;
use crate::{
    key::{KeyRecord, validate},
    store::{FileErrorKind, file::parse},
};

/// A text as long as a key. Seeds have it in many places.
const SECRET: &str = "hush-hush-hush-hush";
/// The table by which TOML hands over times, which other formats may imitate.
const TOML_TIME: &str = "$__toml_private_datetime";

/// Keys that are read are valid and can be written and read again; JSON says no more than is read.
pub fn key_files(input: &[u8]) {
    let mut choices = Choices::new(input);
    let path = Path::new(*choices.pick(&["keys.json", "keys.toml", "keys.yaml"]));
    let content = choices.rest();
    let records = match parse(path, content) {
        Ok(records) => records,
        Err(error) => {
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
            return;
        }
    };
    let (mut ids, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for record in &records {
        validate::record(record).unwrap();
        assert!(ids.insert(record.id) && digests.insert(record.digest.to_hex()));
        assert!(!record.expires_at.is_some_and(crate::Timestamp::is_never));
    }
    if records.iter().any(|record| format!("{:?}", record.details.metadata).contains(TOML_TIME)) {
        return;
    }
    let json = written(&records).to_string();
    let again = parse(Path::new("keys.json"), json.as_bytes()).unwrap();
    assert_eq!(again, records);
    if path == "keys.json" {
        says_no_more(content, &records);
    }
    // A field that is not known is none that can be left out.
    if !records.is_empty() {
        let misspelt = json.replacen("\"disabled\"", "\"disable\"", 1);
        let error = parse(Path::new("keys.json"), misspelt.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), FileErrorKind::UnknownField);
    }
}

/// The keys as JSON.
fn written(records: &[KeyRecord]) -> Value {
    let record = |record: &KeyRecord| {
        let details = &record.details;
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |text: &Option<crate::key::Text>| text.as_deref().map(Value::from);
        let networks = details.allowed_addresses.iter().map(ToString::to_string);
        set("digest", Some(record.digest.to_hex().into()));
        set("name", Some(record.name.as_str().into()));
        set("id", Some(record.id.to_string().into()));
        set("start", Some((*record.start).into()));
        set("owner", record.owner.as_ref().map(|owner| owner.as_str().into()));
        set("description", text(&details.description));
        set("scopes", Some(record.scopes.iter().collect()));
        set("tier", text(&details.tier));
        set("limits", Some(serde_json::to_value(&details.limits).unwrap()));
        set("allowed_addresses", Some(networks.collect()));
        set("not_before", details.not_before.map(|at| at.to_string().into()));
        set("expires_at", record.expires_at.map(|at| at.to_string().into()));
        set("disabled", Some(record.disabled.into()));
        set("metadata", Some(details.metadata.clone().into()));
        Value::Object(fields)
    };
    serde_json::json!({ "keys": records.iter().map(record).collect::<Vec<_>>() })
}

/// Each restriction in a file of JSON is one of its key.
fn says_no_more(content: &[u8], records: &[KeyRecord]) {
    let text = str::from_utf8(content).unwrap();
    let file: Value = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).unwrap();
    let keys = file["keys"].as_array().unwrap();
    assert_eq!(keys.len(), records.len());
    for (key, record) in keys.iter().zip(records) {
        let count = |field: &str| key[field].as_array().map_or(0, Vec::len);
        assert_eq!(key["disabled"] == true, record.disabled);
        assert_eq!(count("allowed_addresses"), record.details.allowed_addresses.len());
        assert_eq!(count("limits"), record.details.limits.len());
        assert!(record.scopes.len() <= count("scopes"));
        assert_eq!(key.get("not_before").is_some(), record.details.not_before.is_some());
        let is_never = key["expires_at"]
            .as_str()
            .is_none_or(|end| end.starts_with("9999") || end.starts_with("+009999"));
        assert!(record.expires_at.is_some() || is_never);
    }
}
