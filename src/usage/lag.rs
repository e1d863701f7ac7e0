//! [`Lag`]: how long counts have waited to be written.

use std::time::Duration;

use crate::{clock::Timestamp, runtime::Mutex};

/// Since when there may be something unwritten. `None` before the first use.
#[derive(Default)]
pub(super) struct Lag(Mutex<Option<Timestamp>>);

impl Lag {
    /// Uses are counted from now on, if none were before.
    pub(super) fn begin(&self, now: Timestamp) {
        self.0.lock().get_or_insert(now);
    }

    /// All that was counted up to then is written.
    pub(super) fn written(&self, until: Timestamp) {
        if let Some(since) = &mut *self.0.lock() {
            *since = until;
        }
    }

    pub(super) fn at(&self, now: Timestamp) -> Duration {
        self.0.lock().map_or(Duration::ZERO, |since| now.saturating_since(since))
    }
}
