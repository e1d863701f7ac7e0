//! The settings of a [`FailureThrottle`], and its builder.

use std::{fmt, num::NonZeroU32, sync::Arc};

use super::FailureThrottle;
use crate::{
    clock::{Clock, MonotonicClock},
    key::Quota,
};

pub(super) struct Settings {
    pub(super) per_address: Quota,
    pub(super) per_start: Quota,
    pub(super) capacity: usize,
    pub(super) clock: Arc<dyn Clock>,
}

const DEFAULT_CAPACITY: usize = 100_000;

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

    /// Room for so many addresses, and as many starts of credentials; 100,000 of each by default.
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

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("per_address", &self.per_address)
            .field("per_start", &self.per_start)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
