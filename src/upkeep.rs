//! [`Upkeep`]: what using a key changes about it, written off the request's path. What could not be
//! written is made up for when the key is next used.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    KeyDigest, KeyId, KeyRecord, Timestamp,
    manage::revised,
    observe,
    store::{Changes, KeyRepository, StoreError, Update},
};

/// Writes back what was learned about keys when they were used.
#[derive(Clone)]
pub(crate) struct Upkeep {
    repository: Arc<dyn KeyRepository>,
    places: Arc<Semaphore>,
}

/// Keys at a time. One that finds no place has its turn when it is next used.
const PLACES: usize = 8;

/// How often the start of a grace is tried while others change the same keys.
const TRIES: u32 = 8;

/// No line of keys has so many that wait for one first use.
const LONGEST_WAIT: usize = 32;

impl Upkeep {
    pub(crate) fn new(repository: Arc<dyn KeyRepository>) -> Self {
        Self { repository, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// A key that was found under a retired pepper: stores `renewed` as its digest, unless the
    /// record was changed meanwhile.
    pub(crate) fn renew_digest(&self, record: Arc<KeyRecord>, renewed: KeyDigest) {
        let repository = self.repository.clone();
        self.spawn(record.id, async move {
            let mut changed = KeyRecord::clone(&record);
            changed.digest = renewed;
            changed.revision += 1;
            // Stale: somebody else changed the key meanwhile, perhaps by renewing it.
            repository.update(&changed, record.revision).await.map(drop)
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
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        runtime.spawn(async move {
            let _place = place;
            if let Err(error) = work.await {
                observe::upkeep_failed(id, &error);
            }
        });
    }
}

async fn start_grace(
    repository: &dyn KeyRepository,
    id: KeyId,
    used_at: Timestamp,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let Some(used) = repository.get(id).await? else { return Ok(()) };
        if !used.details.rotation.is_awaited {
            return Ok(());
        }
        let mut changes = Changes::default();
        let mut before = used.details.rotation.from;
        let mut in_use = KeyRecord::clone(&used);
        in_use.details.rotation.is_awaited = false;
        changes.updates.push(revised(&used, in_use, used_at));
        while let Some(old) = before.take()
            && changes.updates.len() < LONGEST_WAIT
            && let Some(old) = repository.get(old).await?
        {
            // Further back, somebody waits only if this key was never used either.
            before = old.details.rotation.from.filter(|_| old.details.rotation.is_awaited);
            let mut ending = KeyRecord::clone(&old);
            let rotation = &mut ending.details.rotation;
            rotation.is_awaited = false;
            if let Some(grace) = rotation.grace_after_use.take() {
                rotation.retires_at = Some(used_at.saturating_add(Duration::from_millis(grace)));
            }
            if ending != *old {
                changes.updates.push(revised(&old, ending, used_at));
            }
        }
        if repository.apply(&changes).await? == Update::Done {
            return Ok(());
        }
    }
    Ok(())
}
