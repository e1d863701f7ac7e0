//! A database with replicas: an authority, and copies that are behind it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::sleep;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse, MemoryStore,
        StoreError,
    },
};

use crate::{history::Moment, world::World};

/// As one node sees it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    max_batch: usize,
}

struct Shared {
    world: World,
    authority: MemoryStore,
    /// What each digest led to, and since when.
    rows: Mutex<HashMap<[u8; 32], Vec<Row>>>,
    faults: Mutex<Faults>,
    has_replicas: bool,
}

/// What a digest leads to from a moment on.
type Row = (Moment, Option<Arc<KeyRecord>>);

/// What is out of order.
#[derive(Clone, Copy, Default)]
struct Faults {
    down_until: Moment,
    slow_until: Moment,
    fails_until: Moment,
    unsure_until: Moment,
    /// How far replicas are behind.
    lag: Duration,
    /// How far the authority is behind what was written, as after a fail-over, until it has caught up.
    behind: Duration,
    behind_until: Moment,
}

impl Store {
    pub(crate) fn new(world: &World, has_replicas: bool) -> Self {
        let shared = Shared {
            world: world.clone(),
            authority: MemoryStore::new(),
            rows: Mutex::default(),
            faults: Mutex::default(),
            has_replicas,
        };
        Self { shared: Arc::new(shared), max_batch: 1 }
    }

    /// The same database, asked for so many keys at once.
    pub(crate) fn with_max_batch(&self, max_batch: usize) -> Self {
        Self { shared: self.shared.clone(), max_batch }
    }

    fn change(&self, change: impl FnOnce(&mut Faults, Moment)) {
        change(&mut self.shared.faults.lock().unwrap(), self.shared.world.now());
    }

    pub(crate) fn goes_down(&self, time: Duration) {
        self.shared.world.store_fails(time);
        self.change(|faults, now| faults.down_until = now + time);
    }

    pub(crate) fn slows_down(&self, time: Duration) {
        self.shared.world.store_fails(time);
        self.change(|faults, now| faults.slow_until = now + time);
    }

    /// Fails one statement of three.
    pub(crate) fn fails_sometimes(&self, time: Duration) {
        self.shared.world.store_fails(time);
        self.change(|faults, now| faults.fails_until = now + time);
    }

    /// Does not say what became of commits.
    pub(crate) fn is_unsure(&self, time: Duration) {
        self.change(|faults, now| faults.unsure_until = now + time);
    }

    pub(crate) fn lags(&self, lag: Duration) {
        self.change(|faults, _| faults.lag = lag);
    }

    pub(crate) fn fails_over(&self, behind: Duration, time: Duration) {
        self.shared.world.store_fails(time + behind);
        self.change(|faults, now| {
            faults.behind = behind;
            faults.behind_until = now + time;
        });
    }

    pub(crate) fn recovers(&self) {
        self.change(|faults, now| {
            *faults = Faults::default();
            faults.lag = Duration::from_millis(50).min(now);
        });
    }

    fn faults(&self) -> Faults {
        *self.shared.faults.lock().unwrap()
    }

    /// The time that a statement takes, or its failure.
    async fn statement(&self) -> Result<(), StoreError> {
        let Shared { world, .. } = &*self.shared;
        world.pause(Duration::from_millis(8)).await;
        let (faults, now) = (self.faults(), world.now());
        if now < faults.slow_until {
            sleep(Duration::from_millis(900)).await;
        }
        if now < faults.down_until || (now < faults.fails_until && world.chance(333)) {
            world.saw("the store failed");
            return Err(StoreError::unavailable("connection refused"));
        }
        Ok(())
    }

    /// What a digest led to at a moment.
    fn row_at(&self, digest: &KeyDigest, at: Moment) -> Option<Arc<KeyRecord>> {
        let rows = self.shared.rows.lock().unwrap();
        let versions = rows.get(digest.as_bytes())?;
        versions.iter().rev().find(|(since, _)| *since <= at)?.1.clone()
    }

    fn by_replica(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        let Shared { world, .. } = &*self.shared;
        let now = world.now();
        let (current, found) =
            (self.row_at(digest, now), self.row_at(digest, now.saturating_sub(self.faults().lag)));
        match (&current, &found) {
            (Some(_), None) => world.saw("a replica did not have a key"),
            (Some(current), Some(found)) if current.revision > found.revision => {
                world.saw("a replica had an old row");
            }
            _ => {}
        }
        found
    }

    fn by_authority(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        let Shared { world, .. } = &*self.shared;
        let (faults, now) = (self.faults(), world.now());
        let is_behind = now < faults.behind_until;
        let at = if is_behind { now.saturating_sub(faults.behind) } else { now };
        let found = self.row_at(digest, at);
        let revision = |row: &Option<Arc<KeyRecord>>| row.as_ref().map(|row| row.revision);
        if is_behind && revision(&found) != revision(&self.row_at(digest, now)) {
            world.saw("the authority was behind");
        }
        found
    }
}

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.statement().await?;
        let is_of_replica = self.shared.has_replicas;
        let found = if is_of_replica { self.by_replica(digest) } else { self.by_authority(digest) };
        let revision = found.as_ref().map(|record| record.revision);
        self.shared.world.trace(|| format!("{digest:?} found with revision {revision:?}"));
        // The answer is on its way.
        self.shared.world.pause(Duration::from_millis(8)).await;
        Ok(found)
    }

    async fn find_fresh(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.statement().await?;
        self.shared.world.saw("the authority was asked");
        let found = self.by_authority(digest);
        let revision = found.as_ref().map(|record| record.revision);
        self.shared.world.trace(|| format!("{digest:?} found by the authority with {revision:?}"));
        self.shared.world.pause(Duration::from_millis(8)).await;
        Ok(found)
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.get(id).await
    }

    fn may_lag(&self) -> bool {
        self.shared.has_replicas
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }
}

#[async_trait]
impl KeyRepository for Store {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let Shared { world, authority, rows, .. } = &*self.shared;
        self.statement().await?;
        let (faults, now) = (self.faults(), world.now());
        // A server that is behind knows nothing of the rows, so nothing can be written.
        if now < faults.behind_until {
            return Err(StoreError::unavailable("the server is being replaced"));
        }
        let is_unsure = now < faults.unsure_until;
        if is_unsure && world.chance(500) {
            world.saw("a commit of which nothing was heard was not made");
            return Err(StoreError::unavailable("connection reset"));
        }
        let outcome = authority.apply(changes).await?;
        if outcome == ApplyOutcome::Done {
            let mut rows = rows.lock().unwrap();
            let mut write = |digest: &KeyDigest, record: Option<&KeyRecord>| {
                let found = record.filter(|record| !record.is_deleted()).cloned().map(Arc::new);
                rows.entry(*digest.as_bytes()).or_default().push((now, found));
            };
            for record in &changes.inserts {
                write(&record.digest, Some(record));
                world.committed(&record.digest, record);
            }
            for update in &changes.updates {
                write(&update.record.digest, Some(&update.record));
                world.committed(&update.record.digest, &update.record);
            }
        }
        if is_unsure {
            world.saw("a commit of which nothing was heard was made");
            return Err(StoreError::unavailable("connection reset"));
        }
        world.pause(Duration::from_millis(8)).await;
        Ok(outcome)
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.statement().await?;
        self.shared.authority.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.statement().await?;
        self.shared.authority.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.shared.authority.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.statement().await?;
        self.shared.authority.purge(before, owner).await
    }
}
