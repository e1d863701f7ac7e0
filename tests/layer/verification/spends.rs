//! A question leaves nothing behind, unless it spends.

use std::{net::IpAddr, num::NonZeroU32};

use axum::Router;
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyHasher, KeyManager, NewKey, Peppers, RateLimits, UsageRecorder,
    auth::FailureThrottle,
    clock::SettableClock,
    credits::NewCredits,
    limit::{LocalLimiter, Quota},
    manage::RotationGrace,
    nonzero,
    store::{KeyQuery, KeyRepository, MemoryStore, UsageLog},
    usage::UsageQuery,
};

use super::{ask, outcome, unguarded};
use crate::{
    limits::limits,
    support::{KEY, OTHER_KEY, at, clock, record, record_with, send_waiting, with_key},
};

fn of(key: &str, spend: bool) -> Value {
    json!({ "key": key, "spend": spend })
}

/// A key with some requests an hour and fifteen credits, and a layer that counts them.
struct Shop {
    store: MemoryStore,
    usage: UsageRecorder,
    app: Router,
    key: String,
}

impl Shop {
    async fn new(requests: NonZeroU32) -> Self {
        let clock = clock();
        let store = MemoryStore::new().with_clock(clock.clone());
        // The costs that the layer computes have no part in it.
        let credits = Credits::builder(store.clone()).with_clock(clock.clone());
        let credits = credits.with_cost(|_| panic!("the cost is the stated one")).build().unwrap();
        let rates = RateLimits::new(LocalLimiter::builder().with_clock(clock.clone()).build());
        let rates = rates.with_cost(|_| panic!("the cost is the stated one"));
        let usage = UsageRecorder::builder(store.clone()).with_clock(clock.clone());
        let usage = usage.build().unwrap();
        let manager = KeyManager::new(store.clone()).with_clock(clock).with_credits(credits);
        let issued = manager.create(NewKey {
            limits: limits(Quota::per_hour(requests)),
            credits: Some(NewCredits { remaining: 15, refill: None }),
            ..NewKey::named("key")
        });
        let key = issued.await.unwrap().secret.expose().to_owned();
        let layer = manager.layer().with_rate_limits(rates).with_usage(usage.clone());
        Self { store, usage, app: unguarded(layer), key }
    }

    async fn outcomes(&self) -> Vec<(&'static str, u64)> {
        self.usage.flush().await.unwrap();
        let all = UsageQuery::new(at(-3_600_000), at(3_600_000));
        let counts = self.store.usage(&all).await.unwrap();
        counts.iter().map(|usage| (usage.outcome.as_str(), usage.count)).collect()
    }
}

#[tokio::test]
async fn limits_credits_and_uses_are_counted_by_what_the_program_says() {
    let shop = Shop::new(nonzero!(10)).await;
    for _ in 0..40 {
        let looking = json!({ "key": shop.key, "cost": 1_000 });
        assert_eq!(outcome(&shop.app, looking).await, "good");
    }
    assert_eq!(shop.outcomes().await, []);

    // Ten requests an hour.
    let cost = |cost: u32| json!({ "key": shop.key, "spend": true, "cost": cost });
    for (cost_of, expected) in [(4, "good"), (7, "rate_limited"), (6, "good"), (1, "rate_limited")]
    {
        assert_eq!(outcome(&shop.app, cost(cost_of)).await, expected, "{cost_of}");
    }
    // The limits that are used up are not looked at where it does not spend.
    assert_eq!(outcome(&shop.app, of(&shop.key, false)).await, "good");
    assert_eq!(shop.outcomes().await, [("accepted", 2), ("rate_limited", 2)]);
    let record = shop.store.list(&KeyQuery::new(1)).await.unwrap();
    assert_eq!(record.items[0].use_count, 2);
}

#[tokio::test]
async fn credits_are_spent_at_the_stated_cost() {
    // What credits are not enough for is not counted by limits either.
    let shop = Shop::new(nonzero!(16)).await;
    let cost = |cost: u32| json!({ "key": shop.key, "spend": true, "cost": cost });
    for (cost_of, expected) in
        [(9, "good"), (7, "credits_exhausted"), (6, "good"), (1, "credits_exhausted")]
    {
        assert_eq!(outcome(&shop.app, cost(cost_of)).await, expected, "{cost_of}");
    }
}

/// The limits are those of the layer: what a program spends, a request does not have.
#[tokio::test]
async fn programs_and_requests_count_together() {
    let clock = clock();
    let store = MemoryStore::new();
    let quota = limits(Quota::per_hour(nonzero!(3)));
    store.insert(&record_with(KEY, |record| record.details.limits = quota)).await.unwrap();
    let rates = RateLimits::new(LocalLimiter::builder().with_clock(clock).build());
    let layer = ApiKeyLayer::new(store).with_rate_limits(rates);
    let app = unguarded(layer.clone());
    assert_eq!(outcome(&app, json!({ "key": KEY, "spend": true, "cost": 2 })).await, "good");
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "admitted");
    assert_eq!(outcome(&app, of(KEY, true)).await, "rate_limited");
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "rate_limited");
}

/// Lets spawned work that does not wait for anything finish; there is one thread.
async fn let_others_run() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_grace_begins_and_a_digest_is_renewed_by_a_use_alone() {
    const OLD: &[u8] = b"the old pepper of the tests, 32 bytes";
    const NEW: &[u8] = b"the new pepper of the tests, 32 bytes";
    let store = MemoryStore::new();
    let manager = |peppers: Peppers| {
        let hasher = KeyHasher::hmac_sha256(peppers);
        KeyManager::new(store.clone()).with_clock(clock()).with_hasher(hasher)
    };
    let old = manager(Peppers::new(OLD).unwrap());
    let both = manager(Peppers::new(NEW).unwrap().with_retired(OLD).unwrap());
    let first = old.create(NewKey::named("first")).await.unwrap().record;
    let grace = RotationGrace::FromFirstUse(std::time::Duration::from_mins(1));
    let second = old.rotate(first.id, grace).await.unwrap();

    let app = unguarded(both.layer());
    let row = async |id| store.get(id).await.unwrap().unwrap();
    assert_eq!(outcome(&app, of(second.secret.expose(), false)).await, "good");
    let_others_run().await;
    assert_eq!(row(second.record.id).await, second.record);
    assert_eq!(row(first.id).await.details.rotation.retires_at, None);

    // Of a key, one thing is written at a time.
    for _ in 0..2 {
        assert_eq!(outcome(&app, of(second.secret.expose(), true)).await, "good");
        let_others_run().await;
    }
    let used = row(second.record.id).await;
    assert_ne!(used.digest, second.record.digest);
    assert!(!used.details.rotation.is_awaited);
    assert_eq!(row(first.id).await.details.rotation.retires_at, Some(at(60_000)));
}

/// A layer that knows [`KEY`], and lets two guesses an hour come from an address.
async fn throttled(clock: &SettableClock) -> ApiKeyLayer {
    let store = MemoryStore::new();
    store.insert(&record(KEY)).await.unwrap();
    let quota = Quota::per_hour(nonzero!(2));
    let throttle = FailureThrottle::builder(quota).with_per_start(quota);
    ApiKeyLayer::new(store)
        .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
        .with_failure_throttle(throttle.with_clock(clock.clone()).build())
        .unwrap()
}

#[tokio::test]
async fn guesses_are_charged_to_the_stated_address() {
    let clock = clock();
    for spend in [false, true] {
        let layer = throttled(&clock).await;
        let app = unguarded(layer.clone());
        let guess =
            |key: &str, address: &str| json!({ "key": key, "address": address, "spend": spend });
        for expected in ["unknown_key", "unknown_key", "too_many_failures"] {
            assert_eq!(outcome(&app, guess(OTHER_KEY, "192.0.2.1")).await, expected);
        }
        // A key that a person chose waits as well.
        let answer = ask(&app, &guess(KEY, "::ffff:192.0.2.1")).await;
        assert_eq!(answer["code"], "too_many_failures");
        assert!(answer["retry_after"].as_u64().is_some_and(|seconds| seconds <= 3_600));
        // Other addresses do not, nor does the program, which has one itself.
        assert_eq!(outcome(&app, guess(KEY, "192.0.2.2")).await, "good");
        assert_eq!(outcome(&app, guess(KEY, super::LOCAL)).await, "good");
        // Requests are charged together with what programs ask.
        let mut request = with_key(KEY);
        request.extensions_mut().insert::<IpAddr>("192.0.2.1".parse().unwrap());
        assert_eq!(send_waiting(&layer, request).await.outcome(), "too_many_failures");
    }
}

#[tokio::test]
async fn without_an_address_guesses_are_charged_to_none() {
    let clock = clock();
    let app = unguarded(throttled(&clock).await);
    for _ in 0..20 {
        assert_eq!(outcome(&app, json!({ "key": OTHER_KEY })).await, "unknown_key");
    }
    assert_eq!(outcome(&app, json!({ "key": KEY })).await, "good");
    assert_eq!(outcome(&app, json!({ "key": KEY, "address": super::LOCAL })).await, "good");
}
