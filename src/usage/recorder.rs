//! [`UsageRecorder`]: counts uses on the request's path.

use std::{fmt, sync::Arc};

use super::{
    settings::{Settings, UsageRecorderBuilder},
    writer::Writer,
};
use crate::{
    error::{ConfigError, StoreError},
    key::{HourlyUsage, KeyRecord, RejectionKind, UsageOutcome},
    observe,
    request::RequestHead,
    store::{KeyRepository, SharedRecord},
};

/// Writes how often keys are used, and when last, without slowing requests down.
///
/// A request adds one to a counter on the record that it found. A background task collects the
/// counters every five seconds, at the turn of an hour, and when very many keys were used, and
/// writes them in batches: to `use_count` and `last_used_at` of the key, and by hour and outcome
/// for [`KeyManager::usage`](crate::KeyManager::usage), where denials of known keys are counted
/// beside the requests that were let in. A recorder of
/// [totals only](UsageRecorderBuilder::totals_only) writes none by hour.
///
/// # When the repository fails
///
/// Requests never wait. Unwritten counts are kept and tried again: the sum of each key always,
/// and of the counts by hour as many as
/// [there is room for](UsageRecorderBuilder::with_detail_capacity), of the latest hours.
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
    /// [totals only](UsageRecorderBuilder::totals_only).
    pub fn new(repository: impl KeyRepository) -> Result<Self, ConfigError> {
        Self::builder(repository).build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_api_key::{UsageRecorder, store::MemoryStore};
    ///
    /// let usage = UsageRecorder::builder(MemoryStore::new())
    ///     .with_retention(Duration::from_hours(90 * 24))
    ///     .build()?;
    /// # let _ = usage;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn builder(repository: impl KeyRepository) -> UsageRecorderBuilder {
        UsageRecorderBuilder::new(repository)
    }

    pub(super) fn with_settings(repository: Arc<dyn KeyRepository>, settings: Settings) -> Self {
        let writer = Arc::new(Writer::new(repository, settings));
        #[cfg(feature = "metrics")]
        observe::register(&writer);
        Self(writer)
    }

    /// Whether the other is the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Counts a use by a request, which is looked at only if its address is to be recorded.
    #[inline]
    pub(crate) fn count_from<'r>(
        &self,
        record: &SharedRecord,
        request: impl FnOnce() -> RequestHead<'r>,
    ) {
        self.0.inbox.note(record.id, request);
        if record.uses().count() {
            self.first_use(record);
        }
    }

    /// The first use since uses were last collected.
    fn first_use(&self, record: &SharedRecord) {
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

impl fmt::Debug for UsageRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageRecorder").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
