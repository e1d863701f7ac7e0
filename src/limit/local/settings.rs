//! The settings of a [`LocalLimiter`], and its builder.

use std::{fmt, sync::Arc};

use super::LocalLimiter;
use crate::clock::{Clock, MonotonicClock};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) capacity: usize,
    pub(super) clock: Arc<dyn Clock>,
}

/// About 64 MB when it is full.
const DEFAULT_CAPACITY: usize = 1_000_000;

/// Makes a [`LocalLimiter`]: [`LocalLimiter::builder`] begins, [`build`](Self::build) ends.
#[derive(Debug)]
#[must_use]
pub struct LocalLimiterBuilder {
    settings: Settings,
}

impl LocalLimiterBuilder {
    pub(super) fn new() -> Self {
        let clock = Arc::new(MonotonicClock::new());
        Self { settings: Settings { capacity: DEFAULT_CAPACITY, clock } }
    }

    /// Has room for about so many entries: one for each limit of each lineage. A million by
    /// default, which take up some 64 MB.
    pub fn with_capacity(mut self, entries: usize) -> Self {
        self.settings.capacity = entries;
        self
    }

    /// Reads the time from this clock, which should not go back: until it has caught up, debts of
    /// before last longer, and threads count nothing by themselves. By default, from one that is never
    /// set back.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// The limiter. It has counted nothing yet.
    pub fn build(self) -> LocalLimiter {
        LocalLimiter::with_settings(self.settings)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
