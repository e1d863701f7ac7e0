//! [`Settings`] of a recorder.

use std::{sync::Arc, time::Duration};

use crate::clock::{Clock, SystemClock};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interval: Duration,
    pub(super) client_addresses: bool,
    /// Whether uses are counted by hour, beside the totals.
    pub(super) keeps_hours: bool,
    pub(super) retention: Option<Duration>,
    /// The most counts by hour that wait to be written.
    pub(super) most_details: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            interval: Duration::from_secs(5),
            client_addresses: false,
            keeps_hours: true,
            retention: None,
            most_details: 100_000,
        }
    }
}
