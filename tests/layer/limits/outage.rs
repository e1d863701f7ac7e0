//! A limiter that has to be waited for, and one that does not answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use tower_api_key::{
    ApiKeyLayer, RateLimits,
    limit::{LimitCheck, LimitDecision, LocalLimiter, OutagePolicy, Quota, RateLimiter, Tiers},
    nonzero,
    store::{BackEnd, KeyRepository, MemoryStore, StoreError},
};

use super::limits;
use crate::{
    stores::TestStore,
    support::{KEY, clock, record, record_with, send_waiting, with_key},
};

/// What a limiter in another process does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Conduct {
    Answers,
    Fails,
    IsSilent,
}

struct Remote {
    conduct: Conduct,
    counts: LocalLimiter,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl RateLimiter for Remote {
    async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        self.asked.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        match self.conduct {
            Conduct::Answers => self.counts.check(check).await,
            Conduct::Fails => Err(StoreError::unavailable("it is down")),
            Conduct::IsSilent => std::future::pending().await,
        }
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        self.counts.give_back(check, after);
    }
}

/// Limits of every key that fail closed.
pub(crate) fn failing_closed(conduct: Conduct) -> RateLimits {
    let (counts, asked) = (LocalLimiter::new(), Arc::default());
    RateLimits::new(Remote { conduct, counts, asked })
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(1)))))
        .with_outage(OutagePolicy::FailClosed)
}

/// What becomes of three requests, where one is let in.
async fn outcomes(conduct: Conduct, outage: OutagePolicy) -> (Vec<String>, usize) {
    let (store, asked) = (MemoryStore::new(), Arc::new(AtomicUsize::new(0)));
    let quota = limits(Quota::per_hour(nonzero!(1)));
    store.insert(&record_with(KEY, |record| record.details.limits = quota)).await.unwrap();
    let counts = LocalLimiter::builder().with_clock(clock()).build();
    let limiter = Remote { conduct, counts, asked: asked.clone() };
    let rate = RateLimits::new(limiter).with_outage(outage).with_timeout(Duration::from_secs(1));
    let layer = ApiKeyLayer::new(store).with_rate_limits(rate);
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(send_waiting(&layer, with_key(KEY)).await.outcome());
    }
    (outcomes, asked.load(SeqCst))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_waited_for() {
    for outage in [OutagePolicy::LocalFallback, OutagePolicy::FailOpen, OutagePolicy::FailClosed] {
        let (outcomes, asked) = outcomes(Conduct::Answers, outage).await;
        assert_eq!(outcomes, ["admitted", "rate_limited", "rate_limited"]);
        assert_eq!(asked, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_what_was_chosen() {
    for conduct in [Conduct::Fails, Conduct::IsSilent] {
        for (outage, expected) in [
            (OutagePolicy::LocalFallback, ["admitted", "rate_limited", "rate_limited"]),
            (OutagePolicy::FailOpen, ["admitted"; 3]),
            (OutagePolicy::FailClosed, ["limiter_unavailable"; 3]),
        ] {
            assert_eq!(outcomes(conduct, outage).await.0, expected, "{outage:?}");
        }
    }
}

/// The limiter is named, not the key store: for the log, in the source of the denial.
#[tokio::test(start_paused = true)]
async fn the_denial_names_the_limiter() {
    for (conduct, text) in [
        (Conduct::Fails, "the rate limiter is unavailable"),
        (Conduct::IsSilent, "the rate limiter did not answer in time"),
    ] {
        let rate = failing_closed(conduct);
        let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_rate_limits(rate);
        let answer = send_waiting(&layer, with_key(KEY)).await;
        let error = std::error::Error::source(answer.rejection()).unwrap();
        assert_eq!(error.to_string(), text);
        let error = error.downcast_ref::<StoreError>().unwrap();
        assert_eq!(error.back_end(), BackEnd::RateLimiter);
    }
}
