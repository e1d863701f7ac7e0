//! Everything that the crate tells `tracing`, at `TRACE`, while keys of every kind go by.

use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, KeyPatch, KeySource, NewKey, Peppers,
    store::{KeyQuery, MemoryStore, StoreErrorKind},
};
#[cfg(feature = "legacy-hashes")]
use tower_api_key::{key::LegacyHash, legacy::LegacyHashes, store::KeyRepository};

use super::{child, log::Log};
#[cfg(feature = "legacy-hashes")]
use crate::support::{NOW, OTHER_KEY, at, record, record_with};
use crate::{
    stores::TestStore,
    support::{KEY, get, request, request_to, send_waiting, with_key},
};

#[tokio::test]
async fn no_event_holds_a_key() {
    // `tracing` remembers for the whole process whether anybody listens to an event, and another
    // test's thread, where nobody does, may be the first to come by.
    if !child::is_child() {
        child::run("secrets::events::no_event_holds_a_key", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();

    let store = MemoryStore::new();
    let old = KeyHasher::hmac_sha256(Peppers::new(&[1; 32]).unwrap());
    let both =
        KeyHasher::hmac_sha256(Peppers::new(&[2; 32]).unwrap().with_retired(&[1; 32]).unwrap());
    let manager = KeyManager::new(store.clone()).with_hasher(old);
    let issued = manager.create(NewKey::named("key")).await.unwrap();
    let id = issued.record.id;
    let key = issued.secret.expose().to_owned();
    let manager = manager.with_hasher(both);
    let layer = manager.layer().with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::query("api_key").unwrap(),
        KeySource::cookie("api_key").unwrap(),
    ]);
    let unknown = tower_api_key::KeyFormat::new("key").unwrap().generate().unwrap();
    let unknown = unknown.expose().to_owned();
    let malformed = format!("{key}x");

    // A good key, from each source, and renewed under the current pepper.
    for request in every_source(&key) {
        assert_eq!(send_waiting(&layer, request).await.outcome(), "admitted");
        tokio::task::yield_now().await;
    }
    let mut codes = Vec::new();
    for bad in [&unknown, &malformed] {
        for request in every_source(bad) {
            codes.push(send_waiting(&layer, request).await.outcome());
        }
    }
    let twice = [("x-api-key", &key), ("x-api-key", &key)];
    codes.push(send_waiting(&layer, request(&twice)).await.outcome());
    codes.push(send_waiting(&layer, get("/")).await.outcome());
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Overloaded] {
        let layer = ApiKeyLayer::new(TestStore::failing(kind));
        codes.push(send_waiting(&layer, with_key(KEY)).await.outcome());
    }
    let disabled = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
    manager.update(id, disabled).await.unwrap();
    codes.push(send_waiting(&layer, with_key(&key)).await.outcome());
    manager.list(&KeyQuery::new(10)).await.unwrap();
    manager.revoke(id, Some("done")).await.unwrap();
    codes.push(send_waiting(&layer, with_key(&key)).await.outcome());
    manager.delete(id).await.unwrap();
    codes.push(send_waiting(&layer, with_key(&key)).await.outcome());

    let text = log.text();
    // The log is there at all: a line for each denial, with its code.
    assert_eq!(text.matches("request denied").count(), codes.len(), "{text}");
    for code in &codes {
        assert!(text.contains(&format!("code=\"{code}\"")), "{code} in {text}");
    }
    assert!(text.contains(&id.to_string()), "{text}");
    for secret in [&key, &unknown, &malformed, KEY] {
        log.assert_holds_nothing_of(secret);
    }
}

/// A key that another system stored as a slow hash, through all that may happen to it.
#[cfg(feature = "legacy-hashes")]
#[tokio::test]
async fn no_event_holds_a_key_of_another_system() {
    if !child::is_child() {
        child::run("secrets::events::no_event_holds_a_key_of_another_system", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();

    let store = MemoryStore::new();
    let hash = bcrypt::hash(KEY, 4).unwrap();
    let mut good = record(OTHER_KEY);
    good.start = KEY[..8].into();
    good.details.legacy_hash = Some(LegacyHash::parse(&hash).unwrap());
    store.insert(&good).await.unwrap();
    // Its digest stays taken, so that of the good one cannot be stored at first.
    let taken = record_with(KEY, |record| record.details.deleted_at = Some(NOW));
    store.insert(&taken).await.unwrap();
    let mut unusable = record("placeholder-of-an-unusable-key");
    let endless = hash.replace("$04$", "$31$");
    unusable.details.legacy_hash = Some(LegacyHash::new(endless.as_str()));
    store.insert(&unusable).await.unwrap();

    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    let wrong = format!("{KEY}-and-more");
    for (key, expected) in [(&*wrong, "unknown_key"), (KEY, "admitted")] {
        assert_eq!(send_waiting(&layer, with_key(key)).await.outcome(), expected);
    }
    let shown = format!("{legacy:?} {layer:?} {:?} {good:?}", legacy.stats());
    store.purge(at(1), None).await.unwrap();
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "admitted");

    let text = log.text();
    for event in [
        "keys of another system cannot be used",
        "digest not stored; its next use tries again",
        "key of another system stored under its digest",
        "request denied",
    ] {
        assert_eq!(text.matches(event).count(), 1, "{event} in {text}");
    }
    for secret in [KEY, &*wrong, &*hash, &*endless] {
        log.assert_holds_nothing_of(secret);
        assert!(!shown.contains(&secret[8..]), "{shown}");
    }
}

/// The key in each of the sources, in a request of its own.
fn every_source(key: &str) -> [http::Request<()>; 4] {
    [
        with_key(key),
        request(&[("authorization", format!("Bearer {key}"))]),
        get(&format!("/?api_key={key}")),
        request_to("/", &[("cookie", format!("api_key={key}"))]),
    ]
}
