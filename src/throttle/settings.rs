//! The settings of a [`FailureThrottle`], and its builder.

use std::{fmt, num::NonZeroU32, sync::Arc};

use super::FailureThrottle;
use crate::{
    clock::{Clock, MonotonicClock},
    key::Quota,
};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) per_address: Quota,
    pub(super) per_start: Quota,
    /// Of the networks of IPv6 around an address.
    pub(super) per_56: Quota,
    pub(super) per_48: Quota,
    pub(super) pending: usize,
    pub(super) capacity: usize,
    pub(super) clock: Arc<dyn Clock>,
}

const DEFAULT_CAPACITY: usize = 100_000;

const DEFAULT_PENDING: usize = 16;

/// Makes a [`FailureThrottle`]: [`FailureThrottle::builder`] begins, [`build`](Self::build) ends.
#[derive(Debug)]
#[must_use]
pub struct FailureThrottleBuilder {
    settings: Settings,
}

impl FailureThrottleBuilder {
    pub(super) fn new(per_address: Quota) -> Self {
        let settings = Settings {
            per_address,
            per_start: a_quarter_of(per_address),
            per_56: times(4, per_address),
            per_48: times(16, per_address),
            pending: DEFAULT_PENDING,
            capacity: DEFAULT_CAPACITY,
            clock: Arc::new(MonotonicClock::new()),
        };
        Self { settings }
    }

    /// Lets as many failures happen from one address with credentials that begin alike; by default
    /// a quarter of what may happen from the address. Smaller than that, or it says nothing.
    pub fn with_per_start(mut self, quota: Quota) -> Self {
        self.settings.per_start = quota;
        self
    }

    /// Lets as many failures happen from one /56 of IPv6, which is what many providers give to a
    /// household; by default four times those of an address, which is a /64.
    pub fn with_per_ipv6_56(mut self, quota: Quota) -> Self {
        self.settings.per_56 = quota;
        self
    }

    /// Lets as many failures happen from one /48 of IPv6, which is what a company may have: it has
    /// 65,536 networks of the size that counts as an address. By default sixteen times those of an
    /// address.
    pub fn with_per_ipv6_48(mut self, quota: Quota) -> Self {
        self.settings.per_48 = quota;
        self
    }

    /// Lets so many lookups of one address be under way that most probably find no key, 16 by
    /// default, one at least; of IPv6, of one /48. See [`FailureThrottle`].
    ///
    /// So many guesses a client may have beyond its quota, if it sends them at the same time.
    ///
    /// ```
    /// use tower_api_key::{auth::FailureThrottle, limit::Quota, nonzero};
    ///
    /// let throttle = FailureThrottle::builder(Quota::per_minute(nonzero!(20)))
    ///     .with_pending(4)
    ///     .build();
    /// # let _ = throttle;
    /// ```
    pub fn with_pending(mut self, lookups: usize) -> Self {
        self.settings.pending = lookups;
        self
    }

    /// Room for so many addresses, with the networks of IPv6 around them, and as many starts of
    /// credentials; 100,000 of each by default.
    /// They take up 0.4 MB at first, and 4 MB once all of them are taken.
    pub fn with_capacity(mut self, entries: usize) -> Self {
        self.settings.capacity = entries;
        self
    }

    /// Reads the time from this clock. By default, from one that goes on evenly, whatever the
    /// system's time is set to.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// The throttle. No client has failed yet.
    pub fn build(self) -> FailureThrottle {
        FailureThrottle::with_settings(self.settings)
    }
}

/// A quarter of what a quota admits, but at least one.
pub(super) fn a_quarter_of(quota: Quota) -> Quota {
    let quarter = |number: NonZeroU32| NonZeroU32::new(number.get() / 4).unwrap_or(NonZeroU32::MIN);
    // The window is a quota's, so it is a good one.
    let slower = Quota::new(quarter(quota.requests()), quota.window()).unwrap_or(quota);
    slower.with_burst(quarter(quota.burst()))
}

/// So many times the quota, in the same window.
fn times(factor: u32, quota: Quota) -> Quota {
    let factor = NonZeroU32::new(factor).unwrap_or(NonZeroU32::MIN);
    let more = |number: NonZeroU32| number.saturating_mul(factor);
    let wider = Quota::new(more(quota.requests()), quota.window()).unwrap_or(quota);
    wider.with_burst(more(quota.burst()))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("per_address", &self.per_address)
            .field("per_start", &self.per_start)
            .field("per_ipv6_56", &self.per_56)
            .field("per_ipv6_48", &self.per_48)
            .field("pending", &self.pending)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
