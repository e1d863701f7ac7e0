//! The settings of a [`UsageRecorder`], and its builder.

use std::{fmt, sync::Arc, time::Duration};

use super::recorder::UsageRecorder;
use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
    request::{ClientAddress, Hook, RequestHead},
    store::KeyRepository,
};

pub(super) struct Settings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interval: Duration,
    /// How to tell the address of a use, if that is to be recorded.
    pub(super) client_address: Option<Hook<ClientAddress>>,
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
            client_address: None,
            keeps_hours: true,
            retention: None,
            most_details: 100_000,
        }
    }
}

/// Makes a [`UsageRecorder`]: [`UsageRecorder::builder`] begins, [`build`](Self::build) ends.
#[must_use]
pub struct UsageRecorderBuilder {
    repository: Arc<dyn KeyRepository>,
    settings: Settings,
}

impl UsageRecorderBuilder {
    pub(super) fn new(repository: impl KeyRepository) -> Self {
        Self { repository: Arc::new(repository), settings: Settings::default() }
    }

    /// Writes `use_count` and `last_used_at`, and no counts by hour: a repository without a
    /// [`usage_log`](KeyRepository::usage_log) will do.
    ///
    /// ```
    /// use tower_api_key::{UsageRecorder, store::MemoryStore};
    ///
    /// let usage = UsageRecorder::builder(MemoryStore::new()).totals_only().build()?;
    /// # let _ = usage;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn totals_only(mut self) -> Self {
        self.settings.keeps_hours = false;
        self
    }

    /// Writes this often; every five seconds by default.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.settings.interval = interval;
        self
    }

    /// Reads the time from this clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Records the address that each key was last used from, as
    /// [`last_used_from`](crate::key::KeyDetails::last_used_from), where `address` can tell it. It is
    /// what [`with_client_address`](crate::ApiKeyLayer::with_client_address) takes.
    ///
    /// An address may be personal data, so by default none is recorded. Those that were recorded
    /// stay with their keys when this is taken away.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_api_key::{UsageRecorder, auth::RequestHead, store::MemoryStore};
    ///
    /// let peer = |request: &RequestHead<'_>| {
    ///     request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
    /// };
    /// let usage = UsageRecorder::builder(MemoryStore::new()).counting_addresses(peer).build()?;
    /// # let _ = usage;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn counting_addresses<A: Into<ClientAddress>>(
        mut self,
        address: impl Fn(&RequestHead<'_>) -> A + Send + Sync + 'static,
    ) -> Self {
        let address = move |request: &RequestHead<'_>| address(request).into();
        self.settings.client_address = Some(Arc::new(address));
        self
    }

    /// Removes counts by hour that are older than this, once an hour. By default they stay.
    ///
    /// It is the background task that does so, and that runs from the first use on. Where it does
    /// not, [`UsageLog::forget_usage`](crate::store::UsageLog::forget_usage) can be called by
    /// whatever runs once a day.
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.settings.retention = Some(retention);
        self
    }

    /// Keeps so many counts by hour while the repository fails; 100,000 by default, which take up
    /// some 20 MB. There is one for each key, hour and outcome. Then those of the oldest hours are
    /// dropped, which is logged; `use_count` and `last_used_at` lack nothing.
    ///
    /// As many again may come in while a write is going on.
    pub fn with_detail_capacity(mut self, counts: usize) -> Self {
        self.settings.most_details = counts;
        self
    }

    /// The recorder. It has counted nothing yet.
    ///
    /// A repository without a [`usage_log`](KeyRepository::usage_log) is a
    /// [`StoreCapability`](ConfigError::StoreCapability) error, unless [totals](Self::totals_only)
    /// are all that is counted. A [retention](Self::with_retention) of counts that are not kept is
    /// a [`Contradiction`](ConfigError::Contradiction).
    pub fn build(self) -> Result<UsageRecorder, ConfigError> {
        let Self { repository, settings } = self;
        if settings.keeps_hours && repository.usage_log().is_none() {
            return Err(ConfigError::StoreCapability {
                setting: "UsageRecorder",
                lacks: "keeps no counts by hour (`usage_log`)",
                remedy: "use `UsageRecorderBuilder::totals_only`, or a store that keeps them",
            });
        }
        if !settings.keeps_hours && settings.retention.is_some() {
            return Err(ConfigError::Contradiction {
                settings: ["UsageRecorderBuilder::totals_only", "with_retention"],
                problem: "there are no counts by hour to remove",
            });
        }
        Ok(UsageRecorder::with_settings(repository, settings))
    }
}

impl fmt::Debug for UsageRecorderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageRecorderBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("interval", &self.interval)
            .field("client_address", &self.client_address.is_some())
            .field("keeps_hours", &self.keeps_hours)
            .field("retention", &self.retention)
            .field("most_details", &self.most_details)
            .finish_non_exhaustive()
    }
}
