//! Sealed keys in front of a cache: what is forged takes nothing of it.

use std::num::NonZeroU32;

use tower_api_key::{IssuerSecrets, KeyFormat, KeyHasher, KeyManager, NewKey};

use crate::{
    flood::{ask, random_key},
    support::{Fixture, Mode},
};

fn format(secret: u8) -> KeyFormat {
    let secrets = IssuerSecrets::new(&[secret; 32]).unwrap();
    KeyFormat::new("key").unwrap().sealed(secrets, &KeyHasher::sha256()).unwrap()
}

/// Neither a lookup, nor a place in the cache, nor a token of the budget; and a key that is known
/// goes on in an outage as any does.
#[tokio::test]
async fn forged_keys_take_nothing_and_known_ones_go_on() {
    let fixture = Fixture::with(|cache| cache.with_lookup_budget(NonZeroU32::new(2).unwrap()));
    let manager = KeyManager::new(fixture.cache.clone()).with_clock(fixture.clock.clone());
    let manager = manager.with_format(format(1).sealed_only().unwrap());
    let layer = manager.layer();
    let issued = manager.create(NewKey::named("known")).await.unwrap();
    let known = issued.secret.expose();
    assert_eq!(ask(&layer, known).await, "admitted");
    let (lookups, stats) = (fixture.store.lookups(), fixture.cache.stats());

    let elsewhere = format(2);
    for _ in 0..10_000 {
        let forged = elsewhere.generate().unwrap();
        assert_eq!(ask(&layer, forged.expose()).await, "malformed_key");
        // Well-formed, and without a seal.
        assert_eq!(ask(&layer, &random_key()).await, "malformed_key");
    }
    assert_eq!(fixture.store.lookups(), lookups);
    let now = fixture.cache.stats();
    assert_eq!((now.misses, now.shed, now.entries), (stats.misses, stats.shed, stats.entries));

    // Both tokens are there: two keys that pass step 4 and are not stored.
    for _ in 0..2 {
        let unknown = format(1).generate().unwrap();
        assert_eq!(ask(&layer, unknown.expose()).await, "unknown_key");
    }
    fixture.store.set(Mode::Hang);
    assert_eq!(ask(&layer, known).await, "admitted");
    assert_eq!(ask(&layer, elsewhere.generate().unwrap().expose()).await, "malformed_key");
}
