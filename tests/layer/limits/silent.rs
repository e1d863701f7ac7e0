//! A limiter that accepts and says nothing: few requests wait for it, and each is given back where it
//! was counted.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, advance, sleep};
use tower_api_key::{
    ApiKeyLayer, Credits, RateLimits,
    limit::{LimitCheck, LimitDecision, LocalLimiter, OutagePolicy, Quota, RateLimiter},
    store::{KeyRepository, MemoryStore, StoreError},
};

use super::{limits, seconds};
use crate::support::{KEY, record_with, send_waiting, with_key};

/// What the limiter in another process does.
#[derive(Clone, Copy)]
enum Conduct {
    Answers,
    Fails,
    IsSilent,
}

/// The limiter in another process, seen from outside. Clones are the same.
#[derive(Clone)]
struct Remote(Arc<State>);

struct State {
    conduct: Mutex<Conduct>,
    counts: LocalLimiter,
    asked: AtomicUsize,
    given_back: AtomicUsize,
}

impl Remote {
    fn new() -> Self {
        Self(Arc::new(State {
            conduct: Mutex::new(Conduct::Answers),
            counts: LocalLimiter::new(),
            asked: AtomicUsize::new(0),
            given_back: AtomicUsize::new(0),
        }))
    }

    fn set(&self, conduct: Conduct) {
        *self.0.conduct.lock().unwrap() = conduct;
    }

    fn asked(&self) -> usize {
        self.0.asked.load(SeqCst)
    }

    fn given_back(&self) -> usize {
        self.0.given_back.load(SeqCst)
    }
}

#[async_trait]
impl RateLimiter for Remote {
    async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        self.0.asked.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        let conduct = *self.0.conduct.lock().unwrap();
        match conduct {
            Conduct::Answers => self.0.counts.check(check).await,
            Conduct::Fails => Err(StoreError::unavailable("it is down")),
            Conduct::IsSilent => std::future::pending().await,
        }
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        self.0.given_back.fetch_add(1, SeqCst);
        self.0.counts.give_back(check, after);
    }
}

/// A layer whose requests the limiter counts, `requests` an hour.
async fn layer(remote: &Remote, requests: u32, outage: OutagePolicy) -> ApiKeyLayer {
    layer_for(remote, requests, outage, None).await.0
}

async fn layer_for(
    remote: &Remote,
    requests: u32,
    outage: OutagePolicy,
    credits: Option<u64>,
) -> (ApiKeyLayer, MemoryStore) {
    let store = MemoryStore::new();
    let quota = limits(Quota::per_hour(requests.try_into().unwrap()));
    let record = record_with(KEY, |record| {
        record.details.limits = quota;
        record.details.credits = credits;
    });
    store.insert(&record).await.unwrap();
    let rate = RateLimits::new(remote.clone()).with_outage(outage);
    (ApiKeyLayer::new(store.clone()).with_rate_limits(rate), store)
}

async fn outcome(layer: &ApiKeyLayer) -> String {
    send_waiting(layer, with_key(KEY)).await.outcome()
}

/// What the limits let in, by the field of the response.
async fn remaining(layer: &ApiKeyLayer) -> String {
    let answer = send_waiting(layer, with_key(KEY)).await;
    answer.response.headers()["ratelimit"].to_str().unwrap().to_owned()
}

/// A thousand requests in ten seconds: one waits, and one a second is asked beside.
#[tokio::test(start_paused = true)]
async fn few_requests_wait_for_it() {
    for (outage, expected) in [
        (OutagePolicy::LocalFallback, "admitted"),
        (OutagePolicy::FailOpen, "admitted"),
        (OutagePolicy::FailClosed, "limiter_unavailable"),
    ] {
        let remote = Remote::new();
        let layer = layer(&remote, 10_000, outage).await;
        assert_eq!(outcome(&layer).await, "admitted");
        remote.set(Conduct::IsSilent);
        let (mut waited, before) = (Vec::new(), remote.asked());
        for _ in 0..1_000 {
            let start = Instant::now();
            assert_eq!(outcome(&layer).await, expected, "{outage:?}");
            waited.extend((start.elapsed() > Duration::ZERO).then_some(start.elapsed()));
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(waited, [Duration::from_millis(250)], "{outage:?}");
        let asked = remote.asked() - before;
        assert!((10..=11).contains(&asked), "{asked} times");
    }
}

/// Those that came at the same time wait together, and no longer than one.
#[tokio::test(start_paused = true)]
async fn those_that_wait_already_wait_once() {
    let remote = Remote::new();
    let layer = layer(&remote, 10_000, OutagePolicy::LocalFallback).await;
    remote.set(Conduct::IsSilent);
    let start = Instant::now();
    let all = futures_util::future::join_all((0..100).map(|_| outcome(&layer))).await;
    assert!(all.iter().all(|outcome| outcome == "admitted"));
    assert_eq!(start.elapsed(), Duration::from_millis(250));
    let later = futures_util::future::join_all((0..100).map(|_| outcome(&layer))).await;
    assert!(later.iter().all(|outcome| outcome == "admitted"));
    assert_eq!((start.elapsed(), remote.asked()), (Duration::from_millis(250), 100));
}

/// The request that has it asked is counted by the fallback, and not by both.
#[tokio::test(start_paused = true)]
async fn when_it_is_back_it_counts_again() {
    let remote = Remote::new();
    let layer = layer(&remote, 100, OutagePolicy::LocalFallback).await;
    assert!(remaining(&layer).await.contains(";r=99;"));
    remote.set(Conduct::IsSilent);
    for left in (90..100).rev() {
        // The fallback has a count of its own.
        assert!(remaining(&layer).await.contains(&format!(";r={left};")));
    }
    remote.set(Conduct::Answers);
    advance(seconds(1)).await;
    assert!(remaining(&layer).await.contains(";r=89;"), "it is asked beside");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(remote.given_back(), 1);
    assert!(remaining(&layer).await.contains(";r=98;"), "two in all");
}

/// A limiter that is silent lets requests in, and they are counted here for all that.
#[tokio::test(start_paused = true)]
async fn what_is_let_in_without_the_limiter_is_counted_here() {
    let remote = Remote::new();
    let layer = layer(&remote, 3, OutagePolicy::FailOpen).await;
    remote.set(Conduct::IsSilent);
    for left in [2, 1, 0] {
        assert!(remaining(&layer).await.contains(&format!(";r={left};")));
    }
    for _ in 0..3 {
        assert_eq!(outcome(&layer).await, "admitted", "beyond the quota");
    }
}

/// An error at once costs no request any waiting, so each request asks.
#[tokio::test(start_paused = true)]
async fn one_error_is_no_silence() {
    let remote = Remote::new();
    let layer = layer(&remote, 100, OutagePolicy::FailClosed).await;
    remote.set(Conduct::Fails);
    assert_eq!(outcome(&layer).await, "limiter_unavailable");
    remote.set(Conduct::Answers);
    assert_eq!(outcome(&layer).await, "admitted");
    // But if it lasts, they leave it alone.
    remote.set(Conduct::Fails);
    let before = remote.asked();
    for _ in 0..100 {
        assert_eq!(outcome(&layer).await, "limiter_unavailable");
        advance(Duration::from_millis(10)).await;
    }
    assert!((13..=15).contains(&(remote.asked() - before)), "{}", remote.asked() - before);
}

/// Credits that are short deny a request that the limits have counted.
#[tokio::test(start_paused = true)]
async fn a_request_is_given_back_where_it_was_counted() {
    for (conduct, outage, by_limiter) in [
        (Conduct::Answers, OutagePolicy::LocalFallback, 3),
        (Conduct::Fails, OutagePolicy::LocalFallback, 0),
        (Conduct::IsSilent, OutagePolicy::LocalFallback, 0),
        (Conduct::IsSilent, OutagePolicy::FailOpen, 0),
    ] {
        let remote = Remote::new();
        let (layer, store) = layer_for(&remote, 1, outage, Some(0)).await;
        // The key spends credits, and there are none.
        let layer = layer.with_credits(Credits::new(store).unwrap());
        remote.set(conduct);
        for _ in 0..3 {
            assert_eq!(outcome(&layer).await, "credits_exhausted");
        }
        assert_eq!(remote.given_back(), by_limiter);
    }
}
