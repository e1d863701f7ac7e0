//! [`WriteBack`]: what using a key changes about it, written off the request's path. What could not be
//! written is made up for when the key is next used.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::repository::{ApplyOutcome, Changes, KeyRepository, KeyUpdate};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyDigest, KeyId, KeyRecord},
    observe,
    runtime::Mutex,
};

/// Writes back the changes to keys by their use.
#[derive(Clone)]
pub(crate) struct WriteBack {
    repository: Arc<dyn KeyRepository>,
    /// The keys that are being written.
    busy: Arc<Mutex<HashSet<KeyId>>>,
}

/// Keys at a time. One that finds no place has its turn when it is next used.
const PLACES: usize = 8;

/// How often the start of a grace is tried while others change the same keys.
const TRIES: u32 = 8;

/// Keys in one write, of those that wait for one first use.
const BATCH: usize = 32;

impl WriteBack {
    pub(crate) fn new(repository: Arc<dyn KeyRepository>) -> Self {
        Self { repository, busy: Arc::default() }
    }

    /// A key that was found under a retired pepper: stores `renewed` as its digest, unless the
    /// record was changed meanwhile.
    pub(crate) fn renew_digest(&self, record: Arc<KeyRecord>, renewed: KeyDigest) {
        let repository = self.repository.clone();
        self.spawn(record.id, async move {
            let mut changed = KeyRecord::clone(&record);
            changed.digest = renewed;
            changed.revision += 1;
            if repository.update(&record, &changed).await? == ApplyOutcome::Stale {
                // Another node has renewed it, perhaps: a cache learns the new digest by this,
                // and so the key is not found under the old one again.
                repository.find(&renewed).await?;
            }
            Ok(())
        });
    }

    /// A key was used for the first time, and keys that it replaces live on from this moment for
    /// the grace that was chosen for them.
    pub(crate) fn start_grace(&self, id: KeyId, used_at: Timestamp) {
        let repository = self.repository.clone();
        self.spawn(id, async move { start_grace(&*repository, id, used_at).await });
    }

    fn spawn(
        &self,
        id: KeyId,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) {
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(place) = Place::take(&self.busy, id) else { return };
        runtime.spawn(async move {
            let _place = place;
            if let Err(error) = work.await {
                observe::write_back_failed(id, &error);
            }
        });
    }
}

/// A place for a key, until it is dropped. Each key has one at most: a busy one, whose change is
/// not in some cache yet, neither takes all of them nor asks the store on every request.
struct Place {
    busy: Arc<Mutex<HashSet<KeyId>>>,
    key: KeyId,
}

impl Place {
    fn take(busy: &Arc<Mutex<HashSet<KeyId>>>, key: KeyId) -> Option<Self> {
        let mut keys = busy.lock();
        let is_free = keys.len() < PLACES && keys.insert(key);
        is_free.then(|| Self { busy: busy.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.key);
    }
}

async fn start_grace(
    repository: &dyn KeyRepository,
    id: KeyId,
    used_at: Timestamp,
) -> Result<(), StoreError> {
    'tries: for _ in 0..TRIES {
        let mut updates = first_use(repository, id, used_at).await?;
        // The oldest first. The key itself is awaited until all is written, so that what is
        // interrupted goes on when it is next used.
        updates.reverse();
        for batch in updates.chunks(BATCH) {
            let changes = Changes { updates: batch.to_vec(), ..Changes::default() };
            if repository.apply(&changes).await? != ApplyOutcome::Done {
                continue 'tries;
            }
        }
        return Ok(());
    }
    Ok(())
}

/// The changes by the first use of this key: to the key itself, and then to those before it, back
/// to the first that waits for it. None, if another writer was faster.
async fn first_use(
    repository: &dyn KeyRepository,
    id: KeyId,
    used_at: Timestamp,
) -> Result<Vec<KeyUpdate>, StoreError> {
    let (mut updates, mut seen) = (Vec::new(), HashSet::new());
    let mut next = Some(id);
    while let Some(id) = next
        && seen.insert(id)
        && let Some(old) = repository.get(id).await?
    {
        let rotation = &old.details.rotation;
        let is_used = updates.is_empty();
        if is_used && !rotation.is_awaited {
            break;
        }
        // Further back, a key waits only if this key was never used either.
        next = rotation.from.filter(|_| rotation.is_awaited);
        let mut new = KeyRecord::clone(&old);
        let rotation = &mut new.details.rotation;
        rotation.is_awaited = false;
        // The key itself may wait in turn, for the one that replaces it.
        if !is_used && let Some(grace) = rotation.grace_after_use.take() {
            rotation.retires_at = Some(used_at.saturating_add(Duration::from_millis(grace)));
        }
        if new != *old {
            updates.push(KeyUpdate::revised(&old, new, used_at));
        }
    }
    Ok(updates)
}
