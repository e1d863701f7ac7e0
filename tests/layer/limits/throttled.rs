//! 4. Parse: which keys get in from an address that has to wait, and that no other is looked at.

use std::net::IpAddr;

use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyManager, KeyPatch, NewKey, SecretKey,
    auth::FailureThrottle,
    limit::Quota,
    nonzero,
    store::{CachedStore, MemoryStore},
};

use super::failures::from;
use crate::support::{KEY, clock, send, send_waiting, with_key};

const CLIENT: &str = "192.0.2.1";
const OTHER: &str = "198.51.100.1";

struct Office {
    keys: KeyManager,
    store: CachedStore<MemoryStore>,
    layer: ApiKeyLayer,
}

fn office() -> Office {
    let store = CachedStore::builder(MemoryStore::new()).with_clock(clock()).build();
    let keys = KeyManager::new(store.clone()).with_clock(clock());
    let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(1))).with_clock(clock());
    let layer = keys
        .layer()
        .with_formats([KeyFormat::new("key").unwrap(), KeyFormat::opaque()])
        .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
        .with_failure_throttle(throttle.build())
        .unwrap();
    Office { keys, store, layer }
}

impl Office {
    async fn key(&self, new: NewKey) -> SecretKey {
        self.keys.create(new).await.unwrap().secret
    }

    async fn knock(&self, address: &str, key: &str) -> String {
        send_waiting(&self.layer, from(address, with_key(key))).await.outcome()
    }

    /// Without waiting for anything.
    fn knock_now(&self, key: &str) -> String {
        send(&self.layer, from(CLIENT, with_key(key))).outcome()
    }

    /// A web page has a browser of the office send a bad key.
    async fn lock_out(&self) {
        assert_eq!(self.knock(CLIENT, "a-bad-key-of-no-format").await, "unknown_key");
        assert_eq!(self.knock(CLIENT, KEY).await, "too_many_failures");
    }
}

#[tokio::test]
async fn a_generated_key_that_is_in_memory_gets_in() {
    let office = office();
    let [known, cold] =
        [office.key(NewKey::named("a")).await, office.key(NewKey::named("b")).await];
    assert_eq!(office.knock(OTHER, known.expose()).await, "admitted");
    office.lock_out().await;
    let lookups = office.store.stats().misses;
    for _ in 0..3 {
        assert_eq!(office.knock_now(known.expose()), "admitted");
        assert_eq!(office.knock_now(cold.expose()), "too_many_failures");
    }
    assert_eq!(office.store.stats().misses, lookups);
    assert_eq!(office.knock(OTHER, cold.expose()).await, "admitted");
    assert_eq!(office.knock_now(cold.expose()), "admitted");
}

/// Whatever a guesser sends, it learns that it has to wait, and nothing else.
#[tokio::test]
async fn no_other_key_is_told_apart() {
    let office = office();
    let good = office.key(NewKey::named("good")).await;
    let mut bound = NewKey::named("of another network");
    bound.allowed_addresses = vec!["198.51.100.0/24".parse().unwrap()];
    let bound = office.key(bound).await;
    let disabled = office.keys.create(NewKey::named("disabled")).await.unwrap();
    for key in [&good, &bound, &disabled.secret] {
        assert_eq!(office.knock(OTHER, key.expose()).await, "admitted");
    }
    let patch = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
    office.keys.update(disabled.record.id, patch).await.unwrap();
    assert_eq!(office.knock(OTHER, disabled.secret.expose()).await, "disabled_key");
    let unknown = KeyFormat::new("key").unwrap().generate().unwrap();
    office.knock("203.0.113.9", unknown.expose()).await;

    office.lock_out().await;
    let lookups = office.store.stats().misses;
    let malformed = format!("{}x", good.expose());
    let swapped = good.expose().replace(&good.expose()[10..12], "00");
    for key in [
        bound.expose(),
        disabled.secret.expose(),
        unknown.expose(),
        KeyFormat::new("key").unwrap().generate().unwrap().expose(),
        &malformed,
        &swapped,
        "key_short",
        "an-opaque-key-of-another-system",
    ] {
        let answer = send(&office.layer, from(CLIENT, with_key(key)));
        assert_eq!(answer.outcome(), "too_many_failures");
        assert_eq!(answer.response.headers()["retry-after"], "3600");
        assert!(answer.rejection().key().is_none());
    }
    assert_eq!(office.store.stats().misses, lookups, "nothing was looked up");
    assert_eq!(office.knock_now(good.expose()), "admitted");
}

/// A person chose it, so it may be guessed.
#[tokio::test]
async fn an_opaque_key_waits_although_it_is_in_memory() {
    use tower_api_key::store::FixedStore;

    let generated = KeyFormat::new("key").unwrap().generate().unwrap();
    for key in [KEY, generated.expose()] {
        let store = FixedStore::new().with_key("static", key).unwrap();
        let throttle = FailureThrottle::new(Quota::per_hour(nonzero!(1)));
        let layer = ApiKeyLayer::new(store)
            .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
            .with_failure_throttle(throttle)
            .unwrap();
        let knock = |key: &str| send(&layer, from(CLIENT, with_key(key))).outcome();
        assert_eq!(knock(key), "admitted");
        assert_eq!(knock("a-bad-key-of-no-format"), "unknown_key");
        assert_eq!(knock(key), "too_many_failures");
    }
}
