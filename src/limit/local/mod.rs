//! [`LocalLimiter`]: counts in the memory of the process.

mod buckets;
mod entry;
mod front;
mod lease;
mod leases;
mod settings;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

pub use self::settings::LocalLimiterBuilder;
use self::{buckets::Buckets, settings::Settings};
use super::limiter::{LimitCheck, LimitDecision, RateLimiter};
#[cfg(feature = "metrics")]
use crate::observe;
use crate::{
    clock::nanos,
    runtime::{Background, async_methods},
    store::StoreError,
};

/// Counts requests in the memory of this process, exactly and without waiting. Other nodes count
/// for themselves.
///
/// There is one entry for each limit of each lineage that owes something. Those that owe
/// nothing any more are removed, by a task on tokio's runtime or by [`reclaim`](Self::reclaim).
/// With [more](LocalLimiterBuilder::with_capacity) than there is room for, those that owe the least are forgotten
/// first.
///
/// A thread that checks one bucket often lets some hundreds of its requests in by itself, while plenty
/// is left. No decision is another one for that, but [`LimitState`](super::LimitState) may then tell of
/// more than is left, by what other threads have used since.
///
/// Clones share what they count.
///
/// ```
/// use tower_api_key::{
///     ApiKeyLayer, RateLimits,
///     limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
///     nonzero,
///     store::MemoryStore,
/// };
///
/// let minute = Limits::new([Limit::new("minute", Quota::per_minute(nonzero!(100)))?])?;
/// let limits = RateLimits::new(LocalLimiter::new()).with_tiers(Tiers::new().with_default(minute));
/// let layer = ApiKeyLayer::new(MemoryStore::new()).with_rate_limits(limits);
/// # let _ = layer;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct LocalLimiter(Arc<Inner>);

struct Inner {
    buckets: Buckets,
    settings: Settings,
    /// Removes what owes nothing.
    background: Background,
}

/// How often the task looks for what owes nothing.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(10);

impl LocalLimiter {
    /// A limiter with room for a million entries, that counts by a clock that is never set back.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    ///
    /// ```
    /// use tower_api_key::limit::LocalLimiter;
    ///
    /// let limiter = LocalLimiter::builder().with_capacity(10_000).build();
    /// # let _ = limiter;
    /// ```
    pub fn builder() -> LocalLimiterBuilder {
        LocalLimiterBuilder::new()
    }

    fn with_settings(settings: Settings) -> Self {
        let buckets = Buckets::new(settings.capacity);
        let inner = Arc::new(Inner { buckets, settings, background: Background::default() });
        #[cfg(feature = "metrics")]
        observe::register(&inner);
        Self(inner)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.buckets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the entries that owe nothing any more, and gives their memory back. Happens by
    /// itself within some seconds where requests are served on a tokio runtime.
    pub fn reclaim(&self) {
        self.0.reclaim();
    }

    #[inline]
    pub(crate) fn decide(&self, check: &LimitCheck<'_>) -> LimitDecision {
        let (decision, is_new) = self.0.buckets.check(check, self.0.now());
        if is_new && !self.0.background.is_running() {
            self.start();
        }
        decision
    }

    /// Starts the task, on the runtime that serves requests. It ends with the last clone, and when
    /// there is nothing left to remove.
    #[cold]
    fn start(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(mut running) = self.0.background.begin() else { return };
        let inner = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(RECLAIM_INTERVAL).await;
                let Some(inner) = inner.upgrade() else { return };
                inner.reclaim();
                let Some(on) = running.unless(|| inner.buckets.len() == 0) else { return };
                running = on;
            }
        });
    }
}

impl Inner {
    /// Nanoseconds since 1970, or 0.
    #[inline]
    fn now(&self) -> u64 {
        u64::try_from(self.settings.clock.now().as_unix_millis())
            .unwrap_or(0)
            .saturating_mul(1_000_000)
    }

    fn reclaim(&self) {
        self.buckets.reclaim(self.now());
    }
}

#[cfg(feature = "metrics")]
impl observe::FigureSource for Inner {
    fn tell(&self, told: &mut observe::Told) {
        told.buckets("local", self.buckets.len());
    }
}

impl Default for LocalLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl RateLimiter for LocalLimiter {
    #[inline]
    fn check_now(&self, check: &LimitCheck<'_>) -> Option<LimitDecision> {
        Some(self.decide(check))
    }

    async_methods! {
        async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
            Ok(self.decide(check))
        }
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        self.0.buckets.give_back(check, nanos(after), self.0.now());
    }

    fn apart(&self) -> LocalLimiter {
        Self::with_settings(self.0.settings.clone())
    }
}

impl fmt::Debug for LocalLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLimiter")
            .field("entries", &self.len())
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
