//! Digest renewal: a key that was found under a retired pepper is stored under the current one.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    KeyDigest, KeyRecord, observe,
    store::{KeyRepository, Update},
};

/// Renews digests off the request's path.
#[derive(Clone)]
pub(crate) struct Renewal {
    repository: Arc<dyn KeyRepository>,
    places: Arc<Semaphore>,
}

/// Renewals at a time. One that finds no place is made up for when its key is next used.
const PLACES: usize = 8;

impl Renewal {
    pub(crate) fn new(repository: Arc<dyn KeyRepository>) -> Self {
        Self { repository, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Stores `renewed` as the digest of `record`, unless the record was changed meanwhile.
    pub(crate) fn start(&self, record: Arc<KeyRecord>, renewed: KeyDigest) {
        let Ok(runtime) = Handle::try_current() else { return };
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let repository = self.repository.clone();
        runtime.spawn(async move {
            let _place = place;
            let mut changed = KeyRecord::clone(&record);
            changed.digest = renewed;
            changed.revision += 1;
            match repository.update(&changed, record.revision).await {
                // Stale: somebody else changed the key meanwhile, perhaps by renewing it.
                Ok(Update::Done | Update::Stale) => {}
                Err(error) => observe::renewal_failed(record.id, &error),
            }
        });
    }
}
