//! Proving a key against slow hashes, and storing its digest.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, MutexGuard, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use super::{
    Inner, LegacyHashes,
    calls::{self, Answer, Outcome},
    index::Candidate,
    verification::Verification,
    workers::Slot,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    key::{Details, KeyDetails, KeyDigest, KeyRecord, SecretKey},
    observe,
    runtime::{Network, Permit, SharedCall, before},
    store::ApplyOutcome,
};

/// What one read or write of the repository may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

impl LegacyHashes {
    /// Begins to prove `key`, unless another request has begun; none if no slow hash can be one of it.
    /// A key that is proven is stored under `digest` from then on.
    pub(crate) async fn verify(
        self,
        digest: KeyDigest,
        key: SecretKey,
        network: Option<Network>,
    ) -> Result<Option<Verification>, StoreError> {
        self.ready().await?;
        self.join_or_start(digest, key, network)
    }

    fn join_or_start(
        &self,
        digest: KeyDigest,
        key: SecretKey,
        network: Option<Network>,
    ) -> Result<Option<Verification>, StoreError> {
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let inner = &self.0;
        let mut calls = inner.calls.lock();
        let joined = |number, waiter| Verification::new(waiter, inner.clone(), digest, number);
        if let Some((number, waiter)) = calls.join(&digest) {
            return Ok(Some(joined(number, waiter)));
        }
        let (proven, candidates) = match calls.outcome(&digest, inner.settings.clock.now()) {
            Some(Outcome::Refused) => return Ok(None),
            Some(Outcome::Proven(candidate)) => (Some(candidate.clone()), Vec::new()),
            None => (None, inner.candidates(&key)?),
        };
        if proven.is_none() && candidates.is_empty() {
            return Ok(None);
        }
        let settings = &inner.settings;
        let is_full = |network| calls.count_of(network) >= settings.per_network;
        if calls.count() >= settings.max_waiting || network.is_some_and(is_full) {
            inner.shed.fetch_add(1, Relaxed);
            return Err(too_many());
        }
        let generation = calls.generation();
        let (work, waiter) = SharedCall::new();
        let (number, unwanted) = calls.start(&digest, waiter.clone(), network, proven.is_some());
        drop(calls);
        let key = Arc::new(key);
        let call = Call { inner: inner.clone(), digest, number, key, network, generation };
        work.start_or_give_up(&runtime, async move {
            match proven {
                Some(candidate) => Some(call.store(candidate).await),
                None => call.prove(candidates, unwanted).await,
            }
        });
        Ok(Some(joined(number, waiter)))
    }
}

impl Inner {
    /// The keys that begin like this one.
    fn candidates(&self, key: &SecretKey) -> Result<Vec<Arc<Candidate>>, StoreError> {
        let most = self.settings.max_candidates;
        let candidates: Vec<_> = self.with_index(|index| {
            let candidates = index.into_iter().flat_map(|index| index.candidates(key.expose()));
            candidates.take(most.saturating_add(1)).cloned().collect()
        });
        if candidates.len() > most {
            // It may be any of them, so it is not unknown.
            return Err(StoreError::unavailable("too many slow hashes are of keys that begin so"));
        }
        Ok(candidates)
    }
}

/// A key on its way to be proven. Ends when it is dropped, also by a panic.
struct Call {
    inner: Arc<Inner>,
    digest: KeyDigest,
    number: u64,
    key: Arc<SecretKey>,
    network: Option<Network>,
    generation: u64,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.inner.calls.lock().finish(&self.digest, self.number);
    }
}

impl Call {
    /// Tries one hash after the other. Gives up before the next one when no request waits any more.
    async fn prove(
        self,
        candidates: Vec<Arc<Candidate>>,
        mut unwanted: oneshot::Receiver<()>,
    ) -> Option<Answer> {
        let mut trouble = None;
        let last = candidates.len().saturating_sub(1);
        for (index, candidate) in candidates.iter().enumerate() {
            match self.verify(candidate, &mut unwanted).await? {
                Ok(false) => {}
                Ok(true) => return Some(self.store(candidate.clone()).await),
                Err(error) => trouble = Some(error),
            }
            if index < last && !self.lock().end_hash(&self.digest, self.number) {
                return None;
            }
        }
        // It may be the one that could not be tried.
        if let Some(error) = trouble {
            return Some(Err(error));
        }
        self.remember(Outcome::Refused);
        Some(Ok(None))
    }

    fn lock(&self) -> MutexGuard<'_, calls::State> {
        self.inner.calls.lock()
    }

    /// Whether the key has this hash; none if it was given up before its turn.
    async fn verify(
        &self,
        candidate: &Arc<Candidate>,
        unwanted: &mut oneshot::Receiver<()>,
    ) -> Option<Result<bool, StoreError>> {
        let (_share, slot) = match before(Pin::new(unwanted), self.turn()).await? {
            Ok(turn) => turn,
            Err(error) => return Some(Err(error)),
        };
        if !self.lock().begin_hash(&self.digest, self.number) {
            return None;
        }
        let (key, candidate) = (self.key.clone(), candidate.clone());
        let inner = self.inner.clone();
        let verify = move || {
            inner.verifications.fetch_add(1, Relaxed);
            observe::legacy_verification();
            candidate.hash.is_of(&key)
        };
        Some(slot.run(verify).await.and_then(|is_of| is_of))
    }

    /// Waits for the turn of the network, and then for a thread: one network cannot have another
    /// wait behind all of its own keys.
    async fn turn(&self) -> Result<(Option<Permit>, Slot), StoreError> {
        let share = match self.network {
            Some(network) => {
                let ticket = self.inner.shares.join(network.number()).ok_or_else(too_many)?;
                ticket.wait().await
            }
            None => None,
        };
        Ok((share, self.inner.workers.slot().await?))
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
            if !self.inner.settings.stores {
                return Ok(Some(Arc::new(upgraded)));
            }
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

fn too_many() -> StoreError {
    StoreError::new(StoreErrorKind::Overloaded).with_source("too many slow hashes wait")
}

#[cfg(test)]
mod tests {
    use std::{error::Error, net::IpAddr};

    use super::*;
    use crate::{KeyHasher, store::MemoryStore};

    /// A network whose queue is full gets no turn without one.
    #[tokio::test]
    async fn a_full_queue_of_a_network_is_overloaded() {
        let builder = LegacyHashes::builder(MemoryStore::new());
        let inner = builder.with_max_at_once(2).with_max_waiting(1).build().0;
        let network = |third| Network::from(IpAddr::from([192, 0, third, 1]));
        let call = |network| Call {
            inner: inner.clone(),
            digest: KeyHasher::sha256().digest("a key"),
            number: 0,
            key: Arc::new(SecretKey::new("a key")),
            network,
            generation: 0,
        };
        let held = call(Some(network(1))).turn().await.unwrap();
        let waits = inner.shares.join(network(1).number()).unwrap();
        let error = call(Some(network(1))).turn().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Overloaded);
        assert_eq!(error.source().unwrap().to_string(), "too many slow hashes wait");
        // Others go on: they have a share of their own, or are not told apart.
        for other in [Some(network(2)), None] {
            call(other).turn().await.unwrap();
        }
        drop((held, waits));
        call(Some(network(1))).turn().await.unwrap();
    }
}
