//! [`Workers`]: threads for slow hashes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::StoreError;

/// Threads for slow hashes, a bounded number at once: the others wait their turn.
pub(super) struct Workers(Arc<Semaphore>);

impl Workers {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Waits for a slot.
    pub(super) async fn slot(&self) -> Result<Slot, StoreError> {
        self.0
            .clone()
            .acquire_owned()
            .await
            .map(|permit| Slot { _permit: permit })
            .map_err(|_| given_up())
    }
}

/// Of one slow hash.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let work = move || {
            // Until the work is done, even if no caller waits for it any more.
            let _slot = self;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| given_up())
    }
}

/// What a panic said is not passed on: it may have been about the key.
fn given_up() -> StoreError {
    StoreError::unavailable("a slow hash was given up")
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;

    #[tokio::test]
    async fn work_at_once_is_bounded() {
        const AT_ONCE: usize = 3;
        let workers = Workers::new(AT_ONCE);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // Every piece of work waits for two others: with fewer slots this would never end.
        let together = Arc::new(Barrier::new(AT_ONCE));
        let work = || {
            let (running, most, together) = (running.clone(), most.clone(), together.clone());
            let work = move || {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                together.wait();
                running.fetch_sub(1, SeqCst);
            };
            async { workers.slot().await?.run(work).await }
        };
        for done in futures_util::future::join_all((0..8 * AT_ONCE).map(|_| work())).await {
            done.unwrap();
        }
        assert_eq!(most.load(SeqCst), AT_ONCE);
    }

    #[tokio::test]
    async fn a_panic_keeps_no_slot_and_tells_nothing() {
        let workers = Workers::new(0);
        let slot = workers.slot().await.unwrap();
        let error = slot.run(|| panic!("about the key")).await.map(|(): ()| ()).unwrap_err();
        assert!(!format!("{error:?}").contains("about the key"), "{error:?}");
        assert_eq!(workers.slot().await.unwrap().run(|| 7).await.unwrap(), 7);
    }
}
