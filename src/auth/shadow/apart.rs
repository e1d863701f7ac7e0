//! The settings of a layer that decides and changes nothing.

use crate::auth::{
    attached::LayerId, config::Config, counted::OuterLayer, waiting_limit::WaitingLimit,
};

/// So many requests may wait in shadow. One for which there is no room is undecided.
const MAX_WAITING: usize = 1_000;

impl Config {
    /// The settings of a layer that decides as this one and counts apart: its limits, credits and failures
    /// are counted in memory, and it writes nothing.
    pub(super) fn apart(&self) -> Self {
        let mut config = Self {
            id: LayerId::next_in_shadow(),
            waiting: WaitingLimit::builder().with_max_requests(MAX_WAITING).in_shadow().build(),
            hide_credentials: false,
            write_back: None,
            events: None,
            #[cfg(feature = "legacy-hashes")]
            legacy: self.legacy.as_ref().map(|legacy| legacy.apart().clone()),
            throttle: self.throttle.as_ref().map(|throttle| throttle.apart().clone()),
            rate_limits: self.rate_limits.as_ref().map(|limits| limits.apart().clone()),
            credits: self.credits.as_ref().map(|credits| credits.apart().clone()),
            usage: None,
            tells_access: false,
            outer: OuterLayer::default(),
            ..self.clone()
        };
        config.derive();
        config
    }

    /// The same, with a pause once a key is found to be good. Until then it is not known whether the key is
    /// enforced, so its slow hash stays.
    pub(super) fn with_pause(&self) -> Self {
        let mut config = Self {
            pauses: true,
            #[cfg(feature = "legacy-hashes")]
            legacy: self.legacy.as_ref().map(|legacy| legacy.apart().clone()),
            ..self.clone()
        };
        config.derive();
        config
    }
}
