//! [`Gated`]: a store that holds calls back until the test lets them go.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc};
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse, StoreError,
    },
};

/// Which calls a gate holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Lookups, when they have their answer and before they return it.
    Find,
    /// New keys, before they are written.
    Insert,
    /// Changes, when they are written and before they return.
    Update,
}

/// A store in which some calls wait at a [`Gate`].
pub(crate) struct Gated {
    store: Arc<dyn KeyRepository>,
    hold: Hold,
    arrivals: mpsc::UnboundedSender<KeyDigest>,
    open: Arc<Semaphore>,
}

/// The test's side.
pub(crate) struct Gate {
    arrivals: mpsc::UnboundedReceiver<KeyDigest>,
    open: Arc<Semaphore>,
}

/// A store with a gate, which is closed.
pub(crate) fn gated(store: Arc<dyn KeyRepository>, hold: Hold) -> (Arc<Gated>, Gate) {
    let (sender, arrivals) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let gated = Gated { store, hold, arrivals: sender, open: open.clone() };
    (Arc::new(gated), Gate { arrivals, open })
}

impl Gate {
    /// Waits until a call has come to the gate, and tells for which key.
    pub(crate) async fn arrival(&mut self) -> KeyDigest {
        self.arrivals.recv().await.unwrap()
    }

    /// Lets one call go, now or when it comes.
    pub(crate) fn let_one_go(&self) {
        self.open.add_permits(1);
    }

    /// Holds nobody back any more.
    pub(crate) fn open(&self) {
        self.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

impl Gated {
    async fn wait(&self, hold: Hold, digest: &KeyDigest) {
        if hold == self.hold {
            let _ = self.arrivals.send(*digest);
            self.open.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait]
impl KeyStore for Gated {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let answer = self.store.find(digest).await;
        self.wait(Hold::Find, digest).await;
        answer
    }
}

#[async_trait]
impl KeyRepository for Gated {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        for record in &changes.inserts {
            self.wait(Hold::Insert, &record.digest).await;
        }
        let applied = self.store.apply(changes).await;
        for update in &changes.updates {
            self.wait(Hold::Update, &update.record.digest).await;
        }
        applied
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.store.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.store.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.store.purge(before, owner).await
    }
}
