//! 4. Parse: callers who have failed too often wait, before anything is looked up.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use http::Request;
use tower_api_key::{
    ApiKeyLayer, ConfigError,
    auth::FailureThrottle,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    limit::Quota,
    nonzero,
    store::{KeyRepository, KeyStore, Lookup, MemoryStore, StoreError},
};

use super::seconds;
use crate::support::{Answer, KEY, OTHER_KEY, clock, get, record, record_with, send, with_key};

/// Counts how often it is asked.
struct Counted(MemoryStore, Arc<AtomicUsize>);

#[async_trait]
impl KeyStore for Counted {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.1.fetch_add(1, SeqCst);
        self.0.find_now(digest)
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.find(digest).await
    }
}

struct Door {
    layer: ApiKeyLayer,
    clock: SettableClock,
    lookups: Arc<AtomicUsize>,
}

/// Lets eight failures an hour happen from an address, of which four with a key that begins alike.
async fn door() -> Door {
    let (store, clock, lookups) = (MemoryStore::new(), clock(), Arc::default());
    store.insert(&record(KEY)).await.unwrap();
    store.insert(&record_with(OTHER_KEY, |record| record.disabled = true)).await.unwrap();
    let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(8)))
        .with_per_start(Quota::per_hour(nonzero!(4)))
        .with_clock(clock.clone())
        .build();
    let layer = ApiKeyLayer::new(Counted(store, Arc::clone(&lookups)))
        .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
        .with_failure_throttle(throttle)
        .unwrap();
    Door { layer, clock, lookups }
}

pub(crate) fn from(address: &str, mut request: Request<()>) -> Request<()> {
    request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
    request
}

impl Door {
    fn knock(&self, address: &str, key: &str) -> Answer {
        send(&self.layer, from(address, with_key(key)))
    }
}

#[tokio::test]
async fn guessing_is_slowed_before_any_lookup() {
    let door = door().await;
    for number in 0..8 {
        let guess = format!("{number}-is-the-key-perhaps-or-not");
        assert_eq!(door.knock("192.0.2.1", &guess).outcome(), "unknown_key");
    }
    let lookups = door.lookups.load(SeqCst);
    for number in 8..20 {
        let guess = format!("{number}-is-the-key-perhaps-or-not");
        let answer = door.knock("192.0.2.1", &guess);
        assert_eq!(answer.outcome(), "too_many_failures");
        assert_eq!(answer.response.status(), 429);
        assert_eq!(answer.response.headers()["retry-after"], "450");
    }
    // Not even a good key gets in: it may have been guessed.
    assert_eq!(door.knock("192.0.2.1", KEY).outcome(), "too_many_failures");
    assert_eq!(door.lookups.load(SeqCst), lookups, "nothing was looked up");
    // Elsewhere nobody notices, and who sends no key has guessed nothing.
    assert_eq!(door.knock("192.0.2.2", KEY).outcome(), "admitted");
    assert_eq!(send(&door.layer, from("192.0.2.1", get("/"))).outcome(), "missing_key");

    door.clock.advance(seconds(450));
    assert_eq!(door.knock("192.0.2.1", KEY).outcome(), "admitted");
    assert_eq!(door.knock("192.0.2.1", "another-guess-at-a-good-key").outcome(), "unknown_key");
    assert_eq!(door.knock("192.0.2.1", KEY).outcome(), "too_many_failures");
}

#[tokio::test]
async fn a_client_that_repeats_a_dead_key_does_not_slow_its_neighbours() {
    let door = door().await;
    for _ in 0..4 {
        assert_eq!(door.knock("2001:db8::1", OTHER_KEY).outcome(), "disabled_key");
    }
    assert_eq!(door.knock("2001:db8::1", OTHER_KEY).outcome(), "too_many_failures");
    // The same network, for IPv6.
    assert_eq!(door.knock("2001:db8::ffff", OTHER_KEY).outcome(), "too_many_failures");
    assert_eq!(door.knock("2001:db8::1", KEY).outcome(), "admitted");
    assert_eq!(door.knock("2001:db8:0:1::1", OTHER_KEY).outcome(), "disabled_key");
}

#[tokio::test]
async fn good_keys_and_no_keys_are_no_failures() {
    let door = door().await;
    for _ in 0..50 {
        assert_eq!(door.knock("192.0.2.1", KEY).outcome(), "admitted");
        assert_eq!(send(&door.layer, from("192.0.2.1", get("/"))).outcome(), "missing_key");
    }
}

/// Without an address there is nobody to slow down, and everybody must not be.
#[tokio::test]
async fn a_caller_without_an_address_never_waits() {
    let door = door().await;
    for number in 0..50 {
        let guess = format!("{number}-is-the-key-perhaps-or-not");
        assert_eq!(send(&door.layer, with_key(&guess)).outcome(), "unknown_key");
    }
}

/// A throttle that can tell no client from another would say nothing, silently.
#[test]
fn a_throttle_needs_to_be_told_how_to_tell_addresses() {
    let throttle = FailureThrottle::new(Quota::per_hour(nonzero!(8)));
    let layer = ApiKeyLayer::new(MemoryStore::new());
    let error = layer.clone().with_failure_throttle(throttle.clone()).unwrap_err();
    assert_eq!(error, ConfigError::AddressSource { setting: "with_failure_throttle" });
    assert!(error.to_string().contains("with_client_address"), "{error}");
    let told = layer.with_client_address(|request| request.extensions.get::<IpAddr>().copied());
    assert!(told.with_failure_throttle(throttle).is_ok());
}
