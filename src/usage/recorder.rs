//! [`UsageRecorder`]: collects uses and writes them in batches.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Mutex as AsyncMutex};

use crate::{
    Clock, KeyId, KeyRecord, SystemClock, observe,
    store::{KeyRepository, KeyUse, StoreError},
};

/// Writes how often keys are used, and when last, without slowing requests down.
///
/// A request adds one to a counter on the record that it found. A background task collects the
/// counters every five seconds and writes them in batches. While the repository fails, counts are
/// kept, one for each key, and tried again.
///
/// The last few seconds are in memory only: [`flush`](Self::flush) before the program ends. A write
/// that fails without saying whether it happened is repeated, so a count may be too high, never
/// too low. A
/// `last_used_at` is the time at which its use was collected, so it may be late by the interval.
///
/// ```
/// use tower_api_key::{KeyManager, UsageRecorder, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let usage = UsageRecorder::new(store.clone());
/// let layer = KeyManager::new(store).layer().with_usage(usage.clone());
/// // … serve, and when the server has stopped:
/// usage.flush().await?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct UsageRecorder(Arc<Inner>);

struct Inner {
    repository: Arc<dyn KeyRepository>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    /// Whether the background task runs.
    running: AtomicBool,
    /// Records whose counters are not zero. A record is in it once, so a busy key costs nothing
    /// here; only stores that make a record for every lookup add one for every use.
    used: Mutex<Vec<Arc<KeyRecord>>>,
    /// Collected and not written yet. Held while writing, so that flushes come one after another.
    collected: AsyncMutex<HashMap<KeyId, KeyUse>>,
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// Keys in one write.
const BATCH: usize = 500;

impl UsageRecorder {
    /// A recorder that writes to `repository`.
    pub fn new(repository: impl KeyRepository) -> Self {
        Self::with(Arc::new(repository), Arc::new(SystemClock), DEFAULT_INTERVAL)
    }

    fn with(repository: Arc<dyn KeyRepository>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self(Arc::new(Inner {
            repository,
            clock,
            interval,
            running: AtomicBool::new(false),
            used: Mutex::default(),
            collected: AsyncMutex::default(),
        }))
    }

    /// Writes this often. Set it before giving the recorder to a layer.
    pub fn with_interval(self, interval: Duration) -> Self {
        Self::with(self.0.repository.clone(), self.0.clock.clone(), interval)
    }

    /// Reads the time from this clock. Set it before giving the recorder to a layer.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self::with(self.0.repository.clone(), Arc::new(clock), self.0.interval)
    }

    /// Counts a use.
    #[inline]
    pub(crate) fn count(&self, record: &Arc<KeyRecord>) {
        if record.uses.count() {
            self.first_use(record);
        }
    }

    fn first_use(&self, record: &Arc<KeyRecord>) {
        self.0.used().push(record.clone());
        if !self.0.running.swap(true, Ordering::Relaxed) {
            self.start();
        }
    }

    /// Starts the background task, on the runtime that serves requests. Without one, uses are
    /// written by [`flush`](Self::flush) alone.
    fn start(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        // Weak, so that the task ends with the last recorder.
        let (inner, interval) = (Arc::downgrade(&self.0), self.0.interval);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(inner) = Weak::upgrade(&inner) else { return };
                if let Err(error) = inner.flush().await {
                    observe::uses_not_written(&error);
                }
            }
        });
    }

    /// Writes all uses that were counted until now. After an error they are kept and tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.flush().await
    }
}

impl Inner {
    // No code that can panic runs under the lock, so a poisoned one still guards sound data.
    fn used(&self) -> MutexGuard<'_, Vec<Arc<KeyRecord>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let mut collected = self.collected.lock().await;
        let used = mem::take(&mut *self.used());
        let now = self.clock.now();
        for record in used {
            let fresh = KeyUse::new(record.id, 0, now);
            let sum = collected.entry(record.id).or_insert(fresh);
            sum.count = sum.count.saturating_add(record.uses.collect());
            sum.last_used_at = sum.last_used_at.max(now);
        }
        while !collected.is_empty() {
            let batch: Vec<_> = collected.values().take(BATCH).copied().collect();
            self.repository.record_uses(&batch).await?;
            for written in batch {
                collected.remove(&written.id);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UsageRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageRecorder").field("interval", &self.0.interval).finish_non_exhaustive()
    }
}
