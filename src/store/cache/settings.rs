//! The settings of a cache.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use crate::clock::{Clock, CoarseClock};

pub(crate) struct Settings {
    pub(crate) capacity: usize,
    pub(crate) ttl: Duration,
    pub(crate) not_found_ttl: Duration,
    pub(crate) stale_if_error: Duration,
    /// None: as many as there are.
    pub(crate) lookups_per_second: Option<NonZeroU32>,
    /// Hundredths of them, for listed things.
    pub(crate) reserved: u8,
    pub(crate) lookup_timeout: Duration,
    /// Where there is something that was last known. The lookup goes on.
    pub(crate) soft_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: 100_000,
            ttl: Duration::from_secs(30),
            not_found_ttl: Duration::from_secs(5),
            stale_if_error: Duration::from_mins(5),
            lookups_per_second: None,
            reserved: 50,
            lookup_timeout: Duration::from_secs(5),
            soft_timeout: Duration::from_millis(500),
            clock: Arc::new(CoarseClock),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("capacity", &self.capacity)
            .field("ttl", &self.ttl)
            .field("not_found_ttl", &self.not_found_ttl)
            .field("stale_if_error", &self.stale_if_error)
            .field("lookups_per_second", &self.lookups_per_second)
            .field("reserved", &self.reserved)
            .field("lookup_timeout", &self.lookup_timeout)
            .field("soft_timeout", &self.soft_timeout)
            .finish_non_exhaustive()
    }
}
