//! [`UsageRecorder`]: counts uses on the request's path.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::{settings::Settings, writer::Writer};
use crate::{
    clock::Clock,
    error::{ConfigError, StoreError},
    key::{HourlyUsage, KeyRecord, RejectionKind, UsageOutcome},
    observe,
    store::KeyRepository,
};

/// Writes how often keys are used, and when last, without slowing requests down.
///
/// A request adds one to a counter on the record that it found. A background task collects the
/// counters every five seconds, at the turn of an hour, and when very many keys were used, and
/// writes them in batches: to `use_count` and `last_used_at` of the key, and by hour and outcome
/// for [`KeyManager::usage`](crate::KeyManager::usage), where denials of known keys are counted
/// beside the requests that were let in. A recorder of [totals only](Self::totals_only) writes none by
/// hour.
///
/// # When the repository fails
///
/// Requests never wait. Unwritten counts are kept and tried again: the sum of each key always,
/// and of the counts by hour as many as [there is room for](Self::with_detail_capacity), of the
/// latest hours.
///
/// A write that fails without saying whether it happened is repeated, so a count may be too high,
/// never too low.
///
/// # How exact it is
///
/// A `last_used_at` is the time at which its use was collected, so it may be late by the interval.
/// It never goes back, whichever node writes last. A use counts for the hour in which most of the
/// time since uses were last collected lies, that is for the right one, unless the background task
/// is late at the turn of an hour.
///
/// # Before the program ends
///
/// The last few seconds are in memory only: once the server has stopped, [`flush`](Self::flush),
/// and only then close the repository. A flush takes as long as the repository does, so give it a
/// time limit if that may be for ever.
///
/// ```
/// use tower_api_key::{KeyManager, UsageRecorder, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let usage = UsageRecorder::new(store.clone())?;
/// let layer = KeyManager::new(store).layer().with_usage(usage.clone());
/// // … serve, and when the server has stopped:
/// usage.flush().await?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct UsageRecorder(Arc<Writer>);

impl UsageRecorder {
    /// A recorder that writes to `repository`.
    ///
    /// A repository without a [`usage_log`](KeyRepository::usage_log) is a
    /// [`StoreCapability`](ConfigError::StoreCapability) error: it takes
    /// [totals only](Self::totals_only).
    pub fn new(repository: impl KeyRepository) -> Result<Self, ConfigError> {
        if repository.usage_log().is_none() {
            return Err(ConfigError::StoreCapability {
                setting: "UsageRecorder::new",
                lacks: "keeps no counts by hour (`usage_log`)",
                remedy: "use `UsageRecorder::totals_only`, or a store that keeps them",
            });
        }
        Ok(Self(Arc::new(Writer::new(Arc::new(repository), Settings::default()))))
    }

    /// A recorder that writes `use_count` and `last_used_at` to `repository`, and no counts by hour.
    /// It has no use for [`with_retention`](Self::with_retention).
    pub fn totals_only(repository: impl KeyRepository) -> Self {
        let settings = Settings { keeps_hours: false, ..Settings::default() };
        Self(Arc::new(Writer::new(Arc::new(repository), settings)))
    }

    /// Counts a use from an address, which is asked for only if it is to be recorded.
    #[inline]
    pub(crate) fn count_from(
        &self,
        record: &Arc<KeyRecord>,
        address: impl FnOnce() -> Option<IpAddr>,
    ) {
        self.0.inbox.note(record.id, address);
        if record.uses.count() {
            self.first_use(record);
        }
    }

    /// The first use since uses were last collected.
    fn first_use(&self, record: &Arc<KeyRecord>) {
        if self.0.inbox.put(record.clone()) {
            self.0.wake();
        }
        self.0.ensure_running();
    }

    /// Counts a request with a known key that was denied.
    #[cold]
    pub(crate) fn denied(&self, record: &KeyRecord, kind: RejectionKind) {
        if !self.0.settings.keeps_hours {
            return;
        }
        let settings = &self.0.settings;
        let hour = HourlyUsage::hour_of(settings.clock.now());
        let denial = HourlyUsage::of(record, hour, UsageOutcome::Denied(kind), 1);
        let (dropped, is_many) = self.0.inbox.deny(denial, settings.most_details);
        if dropped > 0 {
            observe::usage_details_dropped(dropped);
        }
        if is_many {
            self.0.wake();
        }
        self.0.ensure_running();
    }

    /// Writes all that was counted until now. After an error it is kept and tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.flush().await
    }
}

/// Set these before giving the recorder to a layer: each starts with an empty one.
impl UsageRecorder {
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self(Arc::new(Writer::new(self.0.repository.clone(), settings)))
    }

    /// Writes this often; every five seconds by default.
    pub fn with_interval(self, interval: Duration) -> Self {
        self.with(|settings| settings.interval = interval)
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with(|settings| settings.clock = Arc::new(clock))
    }

    /// Records the address that each key was last used from, as
    /// [`last_used_from`](crate::key::KeyDetails::last_used_from). The layer has to know how to
    /// [find it](crate::ApiKeyLayer::with_client_address).
    ///
    /// An address may be personal data, so by default none is recorded. Those that were recorded
    /// stay with their keys when this is taken away.
    pub fn counting_addresses(self) -> Self {
        self.with(|settings| settings.client_addresses = true)
    }

    /// Removes counts by hour that are older than this, once an hour. By default they stay.
    ///
    /// It is the background task that does so, and that runs from the first use on. Where it does
    /// not, [`UsageLog::forget_usage`](crate::store::UsageLog::forget_usage) can be called by whatever runs once a day.
    pub fn with_retention(self, retention: Duration) -> Self {
        self.with(|settings| settings.retention = Some(retention))
    }

    /// Keeps so many counts by hour while the repository fails; 100,000 by default, which take up
    /// some 20 MB. There is one for each key, hour and outcome. Then those of the oldest hours are
    /// dropped, which is logged; `use_count` and `last_used_at` lack nothing.
    ///
    /// As many again may come in while a write is going on.
    pub fn with_detail_capacity(self, counts: usize) -> Self {
        self.with(|settings| settings.most_details = counts)
    }
}

impl fmt::Debug for UsageRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("UsageRecorder")
            .field("interval", &settings.interval)
            .field("client_addresses", &settings.client_addresses)
            .field("retention", &settings.retention)
            .finish_non_exhaustive()
    }
}
