//! 10. Limits, and what their responses say.

mod charged;
mod counted;
mod credits;
pub(crate) mod failures;
mod fields;
mod guesses;
mod needs;
mod nested;
pub(crate) mod outage;
mod reset;
mod silent;
#[cfg(feature = "cache")]
mod throttled;

use std::time::Duration;

use tower_api_key::{
    ApiKeyLayer, RateLimits,
    clock::SettableClock,
    key::KeyRecord,
    limit::{Limit, Limits, LocalLimiter, Quota},
    store::{KeyRepository, MemoryStore},
};

use crate::support::{KEY, clock, record};

/// One limit, with the name `test`.
pub(crate) fn limits(quota: Quota) -> Limits {
    Limits::new([Limit::new("test", quota).unwrap()]).unwrap()
}

/// A layer over a store with the key [`KEY`], changed, and the clock of both.
async fn limited(
    rate: impl FnOnce(RateLimits) -> RateLimits,
    change: impl FnOnce(&mut KeyRecord),
) -> (ApiKeyLayer, MemoryStore, SettableClock) {
    let (store, clock) = (MemoryStore::new(), clock());
    let mut record = record(KEY);
    change(&mut record);
    store.insert(&record).await.unwrap();
    let rate = rate(RateLimits::new(LocalLimiter::builder().with_clock(clock.clone()).build()));
    let layer = ApiKeyLayer::new(store.clone()).with_clock(clock.clone()).with_rate_limits(rate);
    (layer, store, clock)
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
