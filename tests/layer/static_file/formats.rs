//! What a file says is what the layer knows, in each format.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, Scopes,
    key::KeyRecord,
    store::{FileStore, KeyStore},
};

use super::{Folder, digest, toml};
use crate::support::{KEY, OTHER_KEY, at, clock, send, with_key};

const TOML: &str = r#"
keys = [{ digest = "OTHER", name = "plain" }]
"#;

const FULL_TOML: &str = r#"
[[keys]]
digest = "DIGEST"
name = "full"
id = "0198c0de-0000-7000-8000-000000000001"
start = "key_abcd"
owner = "user-1"
description = "all of it"
scopes = ["orders:read", "stock:*"]
tier = "gold"
limits = [
    { name = "minute", requests = 100, window_seconds = 60, burst = 20 },
    { name = "burst", requests = 5, window_seconds = 0.5 },
]
allowed_addresses = ["192.0.2.0/24", "2001:db8::1"]
not_before = 2026-11-22T00:00:00Z
expires_at = 2026-11-24T01:00:00+01:00
disabled = false
metadata = { team = "shop", limits = [1, 2.5], nested = { on = true } }

[[keys]]
digest = "OTHER"
name = "plain"
"#;

const FULL_JSON: &str = r#"{ "keys": [
    { "digest": "DIGEST", "name": "full", "id": "0198c0de-0000-7000-8000-000000000001",
      "start": "key_abcd", "owner": "user-1", "description": "all of it",
      "scopes": ["orders:read", "stock:*"], "tier": "gold",
      "limits": [{ "name": "minute", "requests": 100, "window_seconds": 60, "burst": 20 },
        { "name": "burst", "requests": 5, "window_seconds": 0.5 }],
      "allowed_addresses": ["192.0.2.0/24", "2001:db8::1"],
      "not_before": "2026-11-22T00:00:00Z", "expires_at": "2026-11-24T01:00:00+01:00",
      "disabled": false,
      "metadata": { "team": "shop", "limits": [1, 2.5], "nested": { "on": true } } },
    { "name": "plain", "digest": "OTHER" }
] }"#;

const FULL_YAML: &str = r"
keys:
  - digest: DIGEST
    name: full
    id: 0198c0de-0000-7000-8000-000000000001
    start: key_abcd
    owner: user-1
    description: all of it
    scopes: [orders:read, 'stock:*']
    tier: gold
    limits:
      - { name: minute, requests: 100, window_seconds: 60, burst: 20 }
      - { name: burst, requests: 5, window_seconds: 0.5 }
    allowed_addresses:
      - 192.0.2.0/24
      - 2001:db8::1
    not_before: 2026-11-22T00:00:00Z
    expires_at: '2026-11-24T01:00:00+01:00'
    disabled: false
    metadata: { team: shop, limits: [1, 2.5], nested: { on: true } }
  - digest: OTHER
    name: plain
";

async fn open(folder: &Folder, name: &str, text: &str) -> FileStore {
    let text = text.replace("DIGEST", &digest(KEY)).replace("OTHER", &digest(OTHER_KEY));
    FileStore::open(folder.write(name, text)).await.unwrap()
}

fn find(store: &FileStore, key: &str) -> Arc<KeyRecord> {
    let digest = KeyHasher::sha256().digest(key);
    match store.find_now(&digest) {
        Some(tower_api_key::store::Lookup::Found(record)) => record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_format_says_the_same() {
    let folder = Folder::new();
    for (name, text) in [
        ("keys.toml", FULL_TOML),
        ("keys.json", FULL_JSON),
        ("keys.yaml", FULL_YAML),
        ("keys.yml", FULL_YAML),
        // As some editors on Windows write.
        ("bom.json", &format!("\u{feff}{FULL_JSON}")),
        ("crlf.toml", &FULL_TOML.replace('\n', "\r\n")),
        ("crlf.yaml", &format!("\u{feff}{}", FULL_YAML.replace('\n', "\r\n"))),
    ] {
        let store = open(&folder, name, text).await;
        assert_eq!(store.status().keys, 2, "{name}");
        let full = find(&store, KEY);
        assert_eq!(full.id.to_string(), "0198c0de-0000-7000-8000-000000000001", "{name}");
        assert_eq!(&*full.name, "full");
        assert_eq!(&*full.start, "key_abcd");
        assert_eq!(full.owner, Some("user-1".into()));
        assert_eq!(full.details.description.as_deref(), Some("all of it"));
        assert_eq!(full.scopes, Scopes::parse(["orders:read", "stock:*"]).unwrap());
        assert_eq!(full.details.tier.as_deref(), Some("gold"));
        let limits = json!([
            { "name": "minute", "requests": 100, "window_seconds": 60, "burst": 20 },
            { "name": "burst", "requests": 5, "window_seconds": 0.5, "burst": 5 },
        ]);
        assert_eq!(serde_json::to_value(&full.details.limits).unwrap(), limits, "{name}");
        let networks: Vec<_> =
            full.details.allowed_addresses.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["192.0.2.0/24", "2001:db8::1/128"]);
        assert_eq!(full.details.not_before, Some(at(-24 * 3_600_000)));
        assert_eq!(full.expires_at, Some(at(24 * 3_600_000)));
        assert!(!full.disabled);
        let metadata = json!({ "team": "shop", "limits": [1, 2.5], "nested": { "on": true } });
        assert_eq!(serde_json::Value::from(full.details.metadata.clone()), metadata, "{name}");

        let plain = find(&store, OTHER_KEY);
        let bare = KeyRecord::new(plain.id, plain.digest, "plain", plain.created_at);
        assert_eq!(*plain, bare, "{name}");
        let again = open(&folder, "again.toml", TOML).await;
        assert_eq!(find(&again, OTHER_KEY).id, plain.id, "it follows from the name");
    }
}

#[tokio::test]
async fn times_in_metadata_are_texts() {
    let folder = Folder::new();
    let text = "\
[[keys]]
digest = \"DIGEST\"
name = \"a\"
metadata = { since = 2026-01-31, at = [{ deep = 2026-01-31T08:00:00+01:00 }] }
";
    let store = open(&folder, "keys.toml", text).await;
    let expected =
        json!({ "since": "2026-01-31", "at": [{ "deep": "2026-01-31T08:00:00+01:00" }] });
    assert_eq!(serde_json::Value::from(find(&store, KEY).details.metadata.clone()), expected);
}

#[tokio::test]
async fn the_layer_judges_keys_of_a_file() {
    let folder = Folder::new();
    let text = toml(&[KEY, OTHER_KEY]);
    let text = format!("{text}disabled = true\n").replacen(
        "name = \"key 0\"",
        "name = \"key 0\"\nscopes = [\"orders:read\"]\nexpires_at = 2026-11-23T00:01:00Z",
        1,
    );
    let store = FileStore::open(folder.write("keys.toml", text)).await.unwrap();
    let clock = clock();
    let layer = ApiKeyLayer::new(store).with_clock(clock.clone());
    let answer = send(&layer, with_key(KEY));
    assert!(answer.key().scopes().allow(&"orders:read".parse().unwrap()));
    assert_eq!(send(&layer, with_key(OTHER_KEY)).outcome(), "disabled_key");
    assert_eq!(send(&layer, with_key("some-key-that-is-in-no-file")).outcome(), "unknown_key");
    clock.advance(Duration::from_mins(1));
    assert_eq!(send(&layer, with_key(KEY)).outcome(), "expired_key");
}
