//! 10. Limits: credits, spent by requests that are let in.

use std::num::{NonZeroU32, NonZeroU64};

use tower_api_key::{
    ApiKeyLayer, Credits, KeyManager, KeyPatch, NewKey, RateLimits, RejectionKind,
    clock::SettableClock,
    credits::{NewCredits, Refill, RefillInterval},
    limit::{LocalLimiter, Quota},
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use super::{limits, seconds};
use crate::support::{
    Answer, at, clock, header_values, problem, record_with, request_to, send_waiting, with_key,
};

struct Shop {
    manager: KeyManager,
    credits: Credits,
    clock: SettableClock,
}

impl Shop {
    fn new() -> Self {
        let clock = clock();
        let store = MemoryStore::new().with_clock(clock.clone());
        let cost = |path: &str| if path == "/export" { 10 } else { u64::from(path != "/free") };
        let credits = Credits::builder(store.clone())
            .with_clock(clock.clone())
            .with_cost(move |request| cost(request.uri.path()))
            .build()
            .unwrap();
        let manager =
            KeyManager::new(store).with_clock(clock.clone()).with_credits(credits.clone());
        Self { manager, credits, clock }
    }

    async fn key(&self, credits: Option<NewCredits>) -> (tower_api_key::KeyId, String) {
        let new = NewKey { credits, ..NewKey::named("key") };
        let issued = self.manager.create(new).await.unwrap();
        (issued.record.id, issued.secret.expose().to_owned())
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        send_waiting(&self.layer(), request_to(path, &[("x-api-key", key)])).await
    }

    fn layer(&self) -> ApiKeyLayer {
        self.manager.layer()
    }
}

fn of(remaining: u64) -> NewCredits {
    NewCredits { remaining, refill: None }
}

fn left(answer: &Answer) -> Vec<&str> {
    header_values(&answer.response, http::HeaderName::from_static("credits-remaining"))
}

#[tokio::test]
async fn requests_spend_what_they_cost() {
    let shop = Shop::new();
    let (id, key) = shop.key(Some(of(13))).await;
    for (path, outcome, remaining) in [
        ("/", "admitted", 12),
        ("/export", "admitted", 2),
        ("/free", "admitted", 2),
        ("/export", "credits_exhausted", 2),
        ("/", "admitted", 1),
        ("/", "admitted", 0),
        ("/", "credits_exhausted", 0),
        ("/free", "admitted", 0),
    ] {
        let answer = shop.get(&key, path).await;
        assert_eq!(answer.outcome(), outcome, "{path}");
        if outcome == "admitted" {
            // What is free asks nobody what is left.
            let told = (path != "/free").then(|| remaining.to_string());
            assert_eq!(left(&answer), told.as_slice(), "{path}");
        } else {
            assert_eq!(answer.rejection().kind(), RejectionKind::CreditsExhausted);
            assert_eq!(problem(&answer.response)["credits_remaining"], remaining);
            assert!(!answer.response.headers().contains_key("retry-after"));
            assert_eq!(answer.response.status(), 429);
        }
    }
    assert_eq!(shop.manager.balance(id).await.unwrap().unwrap().remaining, 0);
}

#[tokio::test]
async fn keys_without_credits_spend_none() {
    let shop = Shop::new();
    let (_, key) = shop.key(None).await;
    for _ in 0..3 {
        let answer = shop.get(&key, "/export").await;
        assert_eq!(answer.outcome(), "admitted");
        assert!(left(&answer).is_empty());
    }
}

#[tokio::test]
async fn what_this_node_holds_counts_as_remaining() {
    let shop = Shop::new();
    let (id, key) = shop.key(Some(of(1_000))).await;
    for spent in 1..=20 {
        shop.get(&key, "/").await;
        assert_eq!(shop.manager.balance(id).await.unwrap().unwrap().remaining, 1_000 - spent);
    }
    shop.credits.close().await.unwrap();
    assert_eq!(shop.manager.balance(id).await.unwrap().unwrap().remaining, 980);
}

#[tokio::test]
async fn what_the_manager_gives_can_be_spent_at_once() {
    let shop = Shop::new();
    let (id, key) = shop.key(Some(of(1))).await;
    assert_eq!(shop.get(&key, "/").await.outcome(), "admitted");
    assert_eq!(shop.get(&key, "/").await.outcome(), "credits_exhausted");
    shop.manager.top_up(id, 1).await.unwrap();
    assert_eq!(shop.get(&key, "/").await.outcome(), "admitted");
    assert_eq!(shop.get(&key, "/").await.outcome(), "credits_exhausted");
    let set = |credits: Option<NewCredits>| KeyPatch {
        credits: Some(credits.map(Into::into)),
        ..KeyPatch::default()
    };
    shop.manager.update(id, set(Some(of(2)))).await.unwrap();
    assert_eq!(left(&shop.get(&key, "/").await), ["1"]);
    shop.manager.update(id, set(None)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(shop.get(&key, "/").await.outcome(), "admitted");
    }
}

/// A client that does what it is told succeeds.
#[tokio::test]
async fn a_denial_says_when_credits_come_back() {
    let shop = Shop::new();
    let refill = Refill::new(
        NonZeroU64::new(2).unwrap(),
        RefillInterval::Seconds(NonZeroU32::new(90).unwrap()),
    );
    let (_, key) = shop.key(Some(NewCredits { remaining: 2, refill: Some(refill) })).await;
    shop.clock.set(at(500));
    for _ in 0..2 {
        assert_eq!(shop.get(&key, "/").await.outcome(), "admitted");
    }
    let denied = shop.get(&key, "/").await;
    assert_eq!(denied.outcome(), "credits_exhausted");
    assert_eq!(denied.response.headers()["retry-after"], "90", "89.5 seconds, rounded up");
    shop.clock.advance(seconds(90));
    assert_eq!(shop.get(&key, "/").await.outcome(), "admitted");
    let never = shop.get(&key, "/export").await;
    assert_eq!(never.outcome(), "credits_exhausted");
    assert!(!never.response.headers().contains_key("retry-after"), "two never make ten");
}

#[tokio::test]
async fn what_is_denied_for_lack_of_credits_uses_up_no_rate_limit() {
    let (store, clock) = (MemoryStore::new(), clock());
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock.clone()).build());
    let manager = KeyManager::new(store.clone())
        .with_clock(clock.clone())
        .with_rate_limits(rate)
        .with_credits(Credits::builder(store).with_clock(clock).build().unwrap());
    let new = NewKey {
        limits: limits(Quota::per_hour(nonzero!(3))),
        credits: Some(of(1)),
        ..NewKey::named("key")
    };
    let issued = manager.create(new).await.unwrap();
    let key = issued.secret.expose();
    let layer = manager.layer();
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        outcomes.push(send_waiting(&layer, with_key(key)).await.outcome());
    }
    assert_eq!(outcomes[0], "admitted");
    assert!(outcomes[1..].iter().all(|outcome| outcome == "credits_exhausted"), "{outcomes:?}");
    manager.top_up(issued.record.id, 100).await.unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.push(send_waiting(&layer, with_key(key)).await.outcome());
    }
    let (two, rest) = outcomes.split_at(2);
    assert!(two.iter().all(|outcome| outcome == "admitted"), "{outcomes:?}");
    assert!(rest.iter().all(|outcome| outcome == "rate_limited"), "{outcomes:?}");
}

/// A balance that is gone is not a balance without end.
#[tokio::test]
async fn a_key_whose_balance_is_missing_has_none() {
    let shop = Shop::new();
    let record = record_with(crate::support::KEY, |record| record.details.credits = Some(0));
    let store = MemoryStore::new();
    store.insert(&record).await.unwrap();
    let credits = Credits::builder(store.clone()).with_clock(shop.clock.clone()).build().unwrap();
    let layer = ApiKeyLayer::new(store).with_credits(credits);
    let answer = send_waiting(&layer, with_key(crate::support::KEY)).await;
    assert_eq!(answer.outcome(), "credits_exhausted");
}
