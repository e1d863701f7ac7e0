//! The settings of [`LegacyHashes`], and their builder.

use std::{fmt, sync::Arc, thread, time::Duration};

use super::LegacyHashes;
use crate::{
    clock::{Clock, SystemClock},
    store::KeyRepository,
};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) refresh_interval: Duration,
    pub(super) max_at_once: usize,
    pub(super) max_waiting: usize,
    pub(super) per_network: usize,
    pub(super) max_candidates: usize,
    /// Whether digests of proven keys are stored.
    pub(super) stores: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            clock: Arc::new(SystemClock),
            refresh_interval: Duration::from_mins(1),
            // Half of them stay free for what else blocks.
            max_at_once: (processors / 2).max(1),
            max_waiting: 64,
            per_network: 16,
            max_candidates: 16,
            stores: true,
        }
    }
}

/// Makes [`LegacyHashes`]: [`LegacyHashes::builder`] or [`KeyManager::legacy_hashes_builder`]
/// begins, [`build`](Self::build) ends.
///
/// [`KeyManager::legacy_hashes_builder`]: crate::KeyManager::legacy_hashes_builder
#[must_use]
pub struct LegacyHashesBuilder {
    repository: Arc<dyn KeyRepository>,
    settings: Settings,
}

impl LegacyHashesBuilder {
    pub(crate) fn new(repository: Arc<dyn KeyRepository>) -> Self {
        Self { repository, settings: Settings::default() }
    }

    /// Reads the time from this clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Reads the index anew this often, every minute by default.
    pub fn with_refresh_interval(mut self, interval: Duration) -> Self {
        self.settings.refresh_interval = interval;
        self
    }

    /// Computes at most so many slow hashes at once, by default half as many as there are
    /// processors; at least one. Each may take up to 256 MiB.
    pub fn with_max_at_once(mut self, hashes: usize) -> Self {
        self.settings.max_at_once = hashes;
        self
    }

    /// Lets at most so many different keys wait for their hash, 64 by default; at least one.
    pub fn with_max_waiting(mut self, keys: usize) -> Self {
        self.settings.max_waiting = keys.max(1);
        self
    }

    /// Lets at most so many different keys of one network wait for their hash, 16 by default, so that
    /// guesses from there leave room for the keys of others; at least one. A network is a /24 of IPv4
    /// or a /56 of IPv6. Where the client's address is unknown, networks are not told apart.
    pub fn with_per_network(mut self, keys: usize) -> Self {
        self.settings.per_network = keys.max(1);
        self
    }

    /// Tries at most so many slow hashes for a key, 16 by default; at least one. Where more keys begin
    /// like it, none is tried, and it is [`Unavailable`](crate::RejectionKind::Unavailable): it may be
    /// any of them.
    pub fn with_max_candidates(mut self, hashes: usize) -> Self {
        self.settings.max_candidates = hashes.max(1);
        self
    }

    /// The legacy hashes. Their index is read when a request needs it, or by
    /// [`refresh`](LegacyHashes::refresh).
    pub fn build(self) -> LegacyHashes {
        LegacyHashes::with_settings(self.repository, self.settings)
    }
}

impl fmt::Debug for LegacyHashesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyHashesBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("refresh_interval", &self.refresh_interval)
            .field("max_at_once", &self.max_at_once)
            .field("max_waiting", &self.max_waiting)
            .field("per_network", &self.per_network)
            .field("max_candidates", &self.max_candidates)
            .finish_non_exhaustive()
    }
}
