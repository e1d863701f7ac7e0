//! Reading the index: by one task for all callers that wait for it, and one after the other.

use std::time::Duration;

use tokio::runtime::Handle;

use super::{Inner, LegacyHashes, index::Index};
use crate::{
    clock::Timestamp,
    error::StoreError,
    observe,
    runtime::{SharedCall, Waiter},
};

/// Reading the index, which several may wait for.
#[derive(Default)]
pub(super) struct Loading {
    running: Option<Waiter<Result<(), StoreError>>>,
    failed: Option<(Timestamp, StoreError)>,
}

/// After a failure, the index is not read again for so long.
const PAUSE: Duration = Duration::from_secs(1);

impl LegacyHashes {
    /// Sees to it that there is an index.
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        let now = self.0.settings.clock.now();
        let age = self.0.with_index(|index| index.map(|index| index.age(now)));
        if age.is_some_and(|age| self.0.is_usable(age)) {
            return Ok(());
        }
        let given_up = || Err(StoreError::unavailable("reading the index was given up"));
        self.start_loading(now)?.answer().await.unwrap_or_else(given_up)
    }

    /// Starts to read the index, unless another caller does so already.
    pub(super) fn start_loading(
        &self,
        now: Timestamp,
    ) -> Result<Waiter<Result<(), StoreError>>, StoreError> {
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let mut loading = self.0.loading.lock();
        if let Some(running) = loading.running.as_ref().filter(|running| !running.is_done()) {
            return Ok(running.clone());
        }
        if let Some((at, error)) = &loading.failed
            && now.saturating_since(*at) < PAUSE
        {
            return Err(error.clone());
        }
        let (work, waiter) = SharedCall::new();
        loading.running = Some(waiter.clone());
        drop(loading);
        let inner = self.0.clone();
        work.start(&runtime, async move { inner.load().await });
        Ok(waiter)
    }
}

impl Inner {
    pub(super) async fn load(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let now = self.settings.clock.now();
        let loaded = Index::load(&*self.repository, now).await;
        let failed = loaded.as_ref().err().map(|error| (self.settings.clock.now(), error.clone()));
        self.loading.lock().failed = failed;
        match loaded {
            Ok(index) => self.keep(index),
            Err(error) => {
                observe::legacy_not_loaded(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    fn keep(&self, new: Index) {
        // Much work if there are many keys, so not while others wait.
        let adds = self.with_index(|old| {
            new.report(old, self.settings.max_candidates);
            old.is_none_or(|old| new.adds_to(old))
        });
        let old = self.with_index_mut(|index| index.replace(new));
        drop(old);
        // After the index: a call that begins in between is among the old generation.
        if adds {
            self.calls.lock().begin_generation();
        }
    }
}
