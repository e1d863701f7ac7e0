//! How long requests wait.

#[cfg(feature = "metrics")]
use metrics::histogram;
#[cfg(feature = "metrics")]
use tokio::time::Instant;

use crate::error::StoreError;

/// When a wait began.
#[derive(Clone, Copy)]
pub(crate) struct Began {
    #[cfg(feature = "metrics")]
    at: Instant,
}

#[cfg_attr(not(feature = "metrics"), expect(clippy::unused_self, reason = "nothing is measured"))]
impl Began {
    pub(crate) fn now() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            at: Instant::now(),
        }
    }

    /// A lookup has ended, with this.
    pub(crate) fn lookup<T>(self, found: &Result<Option<T>, StoreError>) {
        #[cfg(feature = "metrics")]
        match found {
            Ok(Some(_)) => histogram!("tower_api_key_lookup_duration_seconds", "result" => "found"),
            Ok(None) => {
                histogram!("tower_api_key_lookup_duration_seconds", "result" => "not_found")
            }
            Err(_) => histogram!("tower_api_key_lookup_duration_seconds", "result" => "failed"),
        }
        .record(self.at.elapsed());
    }

    /// The rate limits of a key have answered.
    pub(crate) fn limits(self) {
        #[cfg(feature = "metrics")]
        histogram!("tower_api_key_limit_duration_seconds").record(self.at.elapsed());
    }
}
