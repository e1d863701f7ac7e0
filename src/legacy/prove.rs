//! Proving a key against slow hashes, and storing its digest.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Inner, LegacyHashes,
    calls::{Answer, Outcome},
    index::Candidate,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    key::{Details, KeyDetails, KeyDigest, KeyRecord, SecretKey},
    observe,
    runtime::{SharedCall, Waiter},
    store::ApplyOutcome,
};

/// What one read or write of the repository may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

impl LegacyHashes {
    /// The key whose slow hash is one of `key`, stored under `digest` from now on.
    pub(crate) async fn find(self, digest: KeyDigest, key: SecretKey) -> Answer {
        self.ready().await?;
        match self.join_or_start(digest, key)? {
            Some(mut waiter) => waiter
                .answer()
                .await
                .unwrap_or_else(|| Err(StoreError::unavailable("proving the key was given up"))),
            None => Ok(None),
        }
    }

    /// The call that proves the key; none if it need not be tried.
    fn join_or_start(
        &self,
        digest: KeyDigest,
        key: SecretKey,
    ) -> Result<Option<Waiter<Answer>>, StoreError> {
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let inner = &self.0;
        let mut calls = inner.calls.lock();
        if let Some(waiter) = calls.under_way(&digest) {
            return Ok(Some(waiter.clone()));
        }
        let (proven, candidates) = match calls.outcome(&digest, inner.settings.clock.now()) {
            Some(Outcome::Refused) => return Ok(None),
            Some(Outcome::Proven(candidate)) => (Some(candidate.clone()), Vec::new()),
            None => (
                None,
                inner.with_index(|index| {
                    index.map_or(Vec::new(), |i| i.candidates(key.expose()).cloned().collect())
                }),
            ),
        };
        if proven.is_none() && candidates.is_empty() {
            return Ok(None);
        }
        if calls.count() >= inner.settings.max_waiting {
            inner.shed.fetch_add(1, Relaxed);
            return Err(StoreError::new(StoreErrorKind::Overloaded));
        }
        let generation = calls.generation();
        let (work, waiter) = SharedCall::new();
        calls.start(&digest, waiter.clone());
        drop(calls);
        let call = Call { inner: inner.clone(), digest, key: Arc::new(key), generation };
        work.start(&runtime, async move {
            match proven {
                Some(candidate) => call.store(candidate).await,
                None => call.prove(candidates).await,
            }
        });
        Ok(Some(waiter))
    }
}

/// A key on its way to be proven. Ends when it is dropped, also by a panic.
struct Call {
    inner: Arc<Inner>,
    digest: KeyDigest,
    key: Arc<SecretKey>,
    generation: u64,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.inner.calls.lock().finish(&self.digest);
    }
}

impl Call {
    /// Tries one hash after the other.
    async fn prove(self, candidates: Vec<Arc<Candidate>>) -> Answer {
        let mut trouble = None;
        for candidate in candidates {
            match self.verify(&candidate).await {
                Ok(false) => {}
                Ok(true) => return self.store(candidate).await,
                Err(error) => trouble = Some(error),
            }
        }
        // It may be the one that could not be tried.
        if let Some(error) = trouble {
            return Err(error);
        }
        self.remember(Outcome::Refused);
        Ok(None)
    }

    async fn verify(&self, candidate: &Arc<Candidate>) -> Result<bool, StoreError> {
        let (key, candidate) = (self.key.clone(), candidate.clone());
        let inner = self.inner.clone();
        let verify = move || {
            inner.verifications.fetch_add(1, Relaxed);
            observe::legacy_verification();
            candidate.hash.is_of(&key)
        };
        self.inner.workers.run(verify).await?
    }

    /// The key is proven: its digest is stored.
    async fn store(self, candidate: Arc<Candidate>) -> Answer {
        self.remember(Outcome::Proven(candidate.clone()));
        let repository = &self.inner.repository;
        // Each `Stale` means that another writer got on, so this cannot go round for ever.
        loop {
            // What happened to the key since the index was read decides about it.
            let current = in_time(repository.get(candidate.id)).await?;
            let Some(current) = current.filter(|record| !record.is_deleted()) else {
                self.forget(&candidate);
                return Ok(None);
            };
            if current.digest == self.digest {
                // Another node was faster.
                self.forget_candidate(&candidate);
                return Ok(Some(current));
            }
            if current.details.legacy_hash.as_ref() != Some(&candidate.hash) {
                // Changed under our hands: by an import, or by a node whose current pepper is
                // another. A caller that asks again is told.
                self.forget(&candidate);
                return Err(StoreError::unavailable("the key is being changed"));
            }
            let upgraded = upgraded(&current, self.digest);
            match in_time(repository.update(&current, &upgraded)).await {
                Ok(ApplyOutcome::Done) => {
                    self.inner.upgrades.fetch_add(1, Relaxed);
                    observe::legacy_upgraded(current.id);
                    self.forget_candidate(&candidate);
                }
                Ok(ApplyOutcome::Stale | ApplyOutcome::TooManyKeys) => continue,
                // It is proven all the same. Its next use tries to store it again.
                Err(error) => observe::legacy_not_upgraded(current.id, &error),
            }
            return Ok(Some(Arc::new(upgraded)));
        }
    }

    fn forget(&self, candidate: &Candidate) {
        self.inner.calls.lock().forget(&self.digest);
        self.forget_candidate(candidate);
    }

    fn forget_candidate(&self, candidate: &Candidate) {
        self.inner.with_index_mut(|index| {
            if let Some(index) = index {
                index.remove(candidate);
            }
        });
    }

    fn remember(&self, outcome: Outcome) {
        let now = self.inner.settings.clock.now();
        self.inner.calls.lock().remember(&self.digest, outcome, self.generation, now);
    }
}

/// The record as it is to be from now on.
fn upgraded(current: &KeyRecord, digest: KeyDigest) -> KeyRecord {
    let details = KeyDetails { legacy_hash: None, ..KeyDetails::clone(&current.details) };
    KeyRecord {
        digest,
        details: Details::from(details),
        revision: current.revision + 1,
        ..current.clone()
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(STORE_TIMEOUT, work).await.unwrap_or_else(|_| Err(StoreError::timeout()))
}
