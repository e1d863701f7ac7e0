//! A database with replicas: an authority, and copies that are behind it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::sleep;
use tower_api_key::{
    KeyId, OwnerId, RejectionKind, Timestamp,
    credits::Balance,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, BalanceStore, BalanceUpdate, Balances, Changes, KeyPage, KeyQuery,
        KeyRepository, KeyStore, KeyUpdate, KeyUse, Lookup, MemoryStore, Plan, RequestLog,
        RequestRecord, SelectedChanges, Selection, StoreError, UsageLog, Watermark,
        WatermarkRecord, Watermarks,
    },
    usage::{HourlyUsage, LineageUsage, UsageCount, UsageQuery},
};

use crate::{
    history::{
        Life, Moment, Verdict,
        books::{Change, Entry, Refilled},
    },
    world::{World, moment_of, verdict_of},
};

/// As one node sees it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    max_batch: usize,
    /// None: it is asked by none of the nodes.
    life: Option<Life>,
    /// As an earlier version of the crate sees it, which knows of no watermarks.
    reads_rows: bool,
}

struct Shared {
    world: World,
    authority: MemoryStore,
    /// What each digest led to.
    rows: Mutex<HashMap<[u8; 32], Vec<Row>>>,
    faults: Mutex<Faults>,
    has_replicas: bool,
    /// The revision that a replica told a node of, and whether the key was revoked.
    told: Mutex<BTreeMap<(Life, [u8; 32]), RowState>>,
    /// Balances by their revisions, which a writer may have read a while ago.
    balances: Mutex<BTreeMap<(KeyId, u64), Balance>>,
    /// The node that was granted the last refill of a lineage.
    refilled: Mutex<BTreeMap<KeyId, usize>>,
}

/// What a digest leads to from a moment on.
struct Row {
    since: Moment,
    /// As it is written.
    written: Option<Arc<KeyRecord>>,
    /// As it is read while there are watermarks.
    read: Option<Arc<KeyRecord>>,
}

/// What is out of order.
#[derive(Clone, Copy, Default)]
struct Faults {
    down_until: Moment,
    slow_until: Moment,
    fails_until: Moment,
    unsure_until: Moment,
    /// Answers of the authority are late until then, by so much.
    late_until: Moment,
    late: Duration,
    /// How far replicas are behind.
    lag: Duration,
    /// How far the authority is behind what was written, as after a fail-over, until it has caught up.
    behind: Duration,
    behind_until: Moment,
}

/// For so long, answers are late.
const LATE_FOR: Duration = Duration::from_millis(20);

impl Store {
    pub(crate) fn new(world: &World, has_replicas: bool) -> Self {
        let shared = Shared {
            world: world.clone(),
            authority: MemoryStore::new().with_clock(world.true_clock()),
            rows: Mutex::default(),
            faults: Mutex::default(),
            has_replicas,
            told: Mutex::default(),
            balances: Mutex::default(),
            refilled: Mutex::default(),
        };
        Self { shared: Arc::new(shared), max_batch: 1, life: None, reads_rows: false }
    }

    /// The same database as a node asks it, for so many keys at once. One of an earlier version reads the
    /// rows alone.
    pub(crate) fn of_node(&self, life: Life, max_batch: usize, reads_rows: bool) -> Self {
        Self { shared: self.shared.clone(), max_batch, life: Some(life), reads_rows }
    }

    /// The rows as they are, which no fault keeps from being read.
    pub(crate) fn authority(&self) -> &MemoryStore {
        &self.shared.authority
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
        self.shared.world.troubles(time + Duration::from_secs(15));
        self.change(|faults, now| faults.unsure_until = now + time);
    }

    /// What the authority is asked next about a digest is answered so much later.
    pub(crate) fn answers_late(&self, late: Duration) {
        self.change(|faults, now| (faults.late_until, faults.late) = (now + LATE_FOR, late));
    }

    pub(crate) fn lags(&self, lag: Duration) {
        self.change(|faults, _| faults.lag = lag);
    }

    pub(crate) fn fails_over(&self, behind: Duration, time: Duration) {
        self.shared.world.store_fails(time + behind);
        self.shared.world.is_behind(time + behind);
        self.change(|faults, now| {
            faults.behind = behind;
            faults.behind_until = now + time;
        });
    }

    /// Puts a key back to what it was before, as a backup does. Whether there is something to put back.
    pub(crate) async fn restore(&self, digest: &KeyDigest) -> bool {
        let Shared { world, authority, .. } = &*self.shared;
        let is_behind = world.now() < self.faults().behind_until;
        // What is on its way, and what a fail-over would lose, comes to its end first.
        if is_behind || !world.rests_for(digest, Duration::from_secs(20)) {
            return false;
        }
        let Some(id) = world.id(digest) else { return false };
        let Some(current) = authority.get(id).await.unwrap() else { return false };
        let Some(old) = self.row_before(&current) else { return false };
        let changes = Changes::default().with_updates(vec![KeyUpdate::new(&current, old.clone())]);
        if authority.apply(&changes).await.unwrap() != ApplyOutcome::Done {
            return false;
        }
        self.write(&old);
        world.restored(digest);
        true
    }

    /// An earlier row of a key, of which nothing depends on what came after it.
    fn row_before(&self, current: &KeyRecord) -> Option<KeyRecord> {
        let rows = self.shared.rows.lock().unwrap();
        let rows = rows.get(current.digest.as_bytes())?.iter().rev();
        let mut before = rows.filter_map(|row| row.written.as_deref()).filter(|row| {
            let (old, new) = (&row.details, &current.details);
            row.id == current.id
                && row.revision < current.revision
                && old.rotation == new.rotation
                && old.credits == new.credits
        });
        before.find(|row| verdict_of(row) != verdict_of(current)).cloned()
    }

    pub(crate) fn recovers(&self) {
        self.change(|faults, _| *faults = Faults { lag: faults.lag, ..Faults::default() });
    }

    fn faults(&self) -> Faults {
        *self.shared.faults.lock().unwrap()
    }

    /// A node that has crashed makes no statement, and hears no answer.
    async fn is_alive(&self) {
        if let Some(life) = self.life {
            self.shared.world.is_alive(life).await;
        }
    }

    /// The time that a statement takes, or its failure.
    async fn statement(&self) -> Result<(), StoreError> {
        let Shared { world, .. } = &*self.shared;
        world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
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
        let row = rows.get(digest.as_bytes())?.iter().rev().find(|row| row.since <= at)?;
        if self.reads_rows { row.written.clone() } else { row.read.clone() }
    }

    /// The authority has this row from now on.
    fn write(&self, record: &KeyRecord) {
        let Shared { world, rows, .. } = &*self.shared;
        let written = (!record.is_deleted()).then(|| Arc::new(record.clone()));
        let read = written.as_ref().map(|written| self.as_read(written));
        let row = Row { since: world.now(), written, read };
        rows.lock().unwrap().entry(*record.digest.as_bytes()).or_default().push(row);
        world.committed(record, self.life);
    }

    /// The row as the authority reads it.
    fn as_read(&self, written: &Arc<KeyRecord>) -> Arc<KeyRecord> {
        let mut read = KeyRecord::clone(written);
        if let Some(Lookup::Found(found)) = self.shared.authority.find_now(&written.digest) {
            read.details.revoked_at = found.details.revoked_at;
        }
        Arc::new(read)
    }

    /// Watermarks have come or gone: rows may be read in another way.
    fn watermarks_changed(&self) {
        let Shared { world, rows, .. } = &*self.shared;
        for rows in rows.lock().unwrap().values_mut() {
            let Some(Row { written: Some(written), read: Some(last), .. }) = rows.last() else {
                continue;
            };
            let (written, read) = (written.clone(), self.as_read(written));
            if read.details.revoked_at != last.details.revoked_at {
                rows.push(Row { since: world.now(), written: Some(written), read: Some(read) });
            }
        }
    }

    /// A row as this node reads it.
    fn as_node_reads(&self, record: &Arc<KeyRecord>) -> Arc<KeyRecord> {
        let rows = self.shared.rows.lock().unwrap();
        let written =
            rows.get(record.digest.as_bytes()).and_then(|rows| rows.last()?.written.as_ref());
        match written.filter(|written| self.reads_rows && written.id == record.id) {
            Some(written) => written.clone(),
            None => read(record),
        }
    }

    /// Whether a watermark covers a key, and its row does not say so yet.
    fn is_unwritten(&self, record: &KeyRecord) -> bool {
        let world = &self.shared.world;
        world.number(&record.digest).is_some_and(|key| world.is_unwritten(key))
    }

    /// This node writes the row of a key that another one has revoked, which has crashed since.
    fn writes_for_another(&self, record: &KeyRecord) {
        let world = &self.shared.world;
        if let Some(by) = world.number(&record.digest).and_then(|key| world.marked_by(key))
            && world.has_ended(by)
        {
            world.saw("a node wrote the rows for another that had crashed");
        }
    }

    /// A write, unless nothing can be written.
    fn writes(&self) -> Result<Writes, StoreError> {
        let Shared { world, .. } = &*self.shared;
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
        Ok(Writes { is_unsure })
    }

    /// The answer to a write is heard, unless it is lost.
    async fn hears(&self, writes: &Writes) -> Result<(), StoreError> {
        let Shared { world, .. } = &*self.shared;
        if writes.is_unsure {
            world.saw("a commit of which nothing was heard was made");
            return Err(StoreError::unavailable("connection reset"));
        }
        world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
        Ok(())
    }

    fn by_replica(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        let Shared { world, .. } = &*self.shared;
        let now = world.now();
        let (current, found) =
            (self.row_at(digest, now), self.row_at(digest, now.saturating_sub(self.faults().lag)));
        match (&current, &found) {
            (Some(_), None) => world.saw("a replica did not have a key"),
            (Some(current), Some(found)) if state_of(current) != state_of(found) => {
                world.saw("a replica had an old row");
                if let Some(life) = self.life {
                    let mut told = self.shared.told.lock().unwrap();
                    told.insert((life, *digest.as_bytes()), state_of(found));
                }
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
        self.shared.world.asks(digest, self.life);
        let found = if is_of_replica { self.by_replica(digest) } else { self.by_authority(digest) };
        let revision = found.as_ref().map(|record| record.revision);
        self.shared.world.trace(|| format!("{digest:?} found with revision {revision:?}"));
        // The answer is on its way.
        self.shared.world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
        let is_revoked = |row: Option<Arc<KeyRecord>>| {
            row.is_some_and(|row| verdict_of(&row) == Verdict::Refused(RejectionKind::Revoked))
        };
        if found.as_ref().is_some_and(|row| verdict_of(row) == Verdict::Accepted)
            && is_revoked(self.row_at(digest, self.shared.world.now()))
        {
            self.shared.world.saw("a key was revoked while its lookup was under way");
        }
        Ok(found.as_deref().map(read))
    }

    async fn find_fresh(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.statement().await?;
        self.shared.world.saw("the authority was asked");
        self.shared.world.asks(digest, self.life);
        let found = self.by_authority(digest);
        let revision = found.as_ref().map(|record| record.revision);
        self.shared.world.trace(|| format!("{digest:?} found by the authority with {revision:?}"));
        if let Some(life) = self.life
            && let Some(told) = self.shared.told.lock().unwrap().remove(&(life, *digest.as_bytes()))
            && let Some(found) = found.as_deref().map(state_of)
        {
            if told.0 < found.0 {
                self.shared.world.saw("the authority was asked after a stale row of a replica");
            } else if told < found {
                self.shared
                    .world
                    .saw("the authority was asked after a row from before a watermark");
            }
        }
        let faults = self.faults();
        if self.shared.world.now() < faults.late_until {
            sleep(faults.late).await;
        }
        self.shared.world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
        Ok(found.as_deref().map(read))
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
        let written = Written::begin(self, changes);
        self.statement().await?;
        let Shared { world, authority, .. } = &*self.shared;
        let (writes, now) = (self.writes()?, world.now());
        let watermark = changes.watermark.as_ref().map(|mark| &mark.watermark);
        let outcome = authority.apply(changes).await?;
        if outcome == ApplyOutcome::Done {
            changes.inserts.iter().for_each(|record| self.write(record));
            changes.updates.iter().for_each(|update| self.write(&update.record));
            if let Some(watermark) = watermark {
                world.marked(watermark, self.life);
                self.watermarks_changed();
                if let Some(life) = self.life.filter(|_| world.chance(250)) {
                    world.crashes(life);
                }
            }
            written.is_made(now);
        } else if !changes.balances.is_empty() {
            world.saw("two writers of a balance came across each other");
        } else if changes.updates.iter().any(|update| self.is_unwritten(&update.record)) {
            world.saw("a change from a row came across a watermark");
        }
        if watermark.is_some() && writes.is_unsure {
            world.saw("a watermark was written of which nothing was heard");
        }
        self.hears(&writes).await?;
        written.is_heard();
        // Every act of an administrator writes one.
        if changes.events.is_empty() && outcome == ApplyOutcome::Done {
            for update in &changes.updates {
                if update.record.details.rotation.retires_at.is_some() {
                    world.saw("the first use of a key began the grace of the one before");
                }
                world.is_written_back(&update.record);
            }
        }
        Ok(outcome)
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.statement().await?;
        let found = self.shared.authority.get(id).await?;
        Ok(found.map(|record| self.as_node_reads(&record)))
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.statement().await?;
        self.shared.authority.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.statement().await?;
        let Shared { world, authority, .. } = &*self.shared;
        authority.record_uses(uses).await?;
        world.trace(|| format!("node {:?} writes uses {uses:?}", self.life));
        let unheard = |count: &mut BTreeMap<KeyId, u64>, sign: bool| {
            for written in uses {
                let count = count.entry(written.id).or_default();
                *count = if sign { *count + written.count } else { *count - written.count };
            }
        };
        // Until it is heard.
        unheard(&mut world.history().books.repeated, true);
        if world.now() < self.faults().unsure_until {
            world.saw("uses were written of which nothing was heard");
            return Err(StoreError::unavailable("connection reset"));
        }
        world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
        unheard(&mut world.history().books.repeated, false);
        Ok(())
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.statement().await?;
        self.shared.authority.purge(before, owner).await
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        Some(self)
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        (!self.reads_rows).then_some(self as _)
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        Some(self)
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        Some(self)
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        Some(self)
    }
}

#[async_trait]
impl SelectedChanges for Store {
    async fn apply_to(
        &self,
        selection: &Selection,
        plan: &Plan,
    ) -> Result<ApplyOutcome, StoreError> {
        self.statement().await?;
        let writes = self.writes()?;
        let planned = Arc::new(Mutex::new(Changes::default()));
        let plan: Plan = {
            let (store, plan, planned) = (self.clone(), plan.clone(), planned.clone());
            Arc::new(move |records: &[Arc<KeyRecord>]| {
                let records: Vec<_> =
                    records.iter().map(|record| store.as_node_reads(record)).collect();
                let changes = plan(&records);
                *planned.lock().unwrap() = changes.clone().unwrap_or_default();
                changes
            })
        };
        let authority = self.shared.authority.selected_changes().unwrap();
        let outcome = authority.apply_to(selection, &plan).await?;
        if outcome == ApplyOutcome::Done {
            let changes = std::mem::take(&mut *planned.lock().unwrap());
            for update in &changes.updates {
                self.writes_for_another(&update.record);
                self.write(&update.record);
            }
        }
        self.hears(&writes).await?;
        Ok(outcome)
    }
}

#[async_trait]
impl Watermarks for Store {
    async fn current(&self) -> Result<Vec<WatermarkRecord>, StoreError> {
        self.statement().await?;
        self.writes()?;
        self.shared.authority.watermarks().unwrap().current().await
    }

    async fn unwritten(
        &self,
        watermark: &Watermark,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<(KeyId, u64)>, StoreError> {
        self.statement().await?;
        self.writes()?;
        let authority = self.shared.authority.watermarks().unwrap();
        let found = authority.unwritten(watermark, after, limit).await?;
        // Others change the rows meanwhile.
        self.shared.world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
        Ok(found)
    }

    async fn remove(&self, watermark: &Watermark) -> Result<bool, StoreError> {
        self.statement().await?;
        let writes = self.writes()?;
        let authority = self.shared.authority.watermarks().unwrap();
        let is_removed = authority.remove(watermark).await?;
        if is_removed {
            self.shared.world.saw("a watermark was removed");
            self.shared.world.unmarked(watermark);
            self.watermarks_changed();
        }
        self.hears(&writes).await?;
        Ok(is_removed)
    }
}

#[async_trait]
impl BalanceStore for Store {
    async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        self.statement().await?;
        let found = self.authority().balance_store().unwrap().balances(lineages).await?;
        self.shared.world.pause(Duration::from_millis(8)).await;
        self.is_alive().await;
        Ok(found)
    }
}

#[async_trait]
impl RequestLog for Store {
    async fn request(
        &self,
        lineage: KeyId,
        request: &KeyDigest,
    ) -> Result<Option<RequestRecord>, StoreError> {
        self.statement().await?;
        self.authority().request_log().unwrap().request(lineage, request).await
    }
}

#[async_trait]
impl UsageLog for Store {
    async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        self.statement().await?;
        self.authority().usage_log().unwrap().record_usage(usage).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
        self.statement().await?;
        self.authority().usage_log().unwrap().usage(query).await
    }

    async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineageUsage>, StoreError> {
        self.statement().await?;
        self.authority().usage_log().unwrap().busiest(query, limit).await
    }

    async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.statement().await?;
        self.authority().usage_log().unwrap().forget_usage(before).await
    }
}

/// A write that is made.
struct Writes {
    /// Nothing is heard of it.
    is_unsure: bool,
}

/// A revision, and whether the key is revoked.
type RowState = (u64, bool);

/// What tells an older row from a newer one.
fn state_of(row: &KeyRecord) -> RowState {
    (row.revision, row.details.revoked_at.is_some())
}

/// A row as it is read: each node has a copy of its own, and counts uses there.
fn read(row: &KeyRecord) -> Arc<KeyRecord> {
    Arc::new(row.clone())
}

/// The balances that a write changes, in the books.
struct Written<'s> {
    store: &'s Store,
    updates: &'s [BalanceUpdate],
    /// Where each of them is.
    places: Vec<usize>,
}

impl<'s> Written<'s> {
    fn begin(store: &'s Store, changes: &'s Changes) -> Self {
        let Shared { world, balances, .. } = &*store.shared;
        let (updates, is_top_up) = (&changes.balances[..], !changes.requests.is_empty());
        let balances = balances.lock().unwrap();
        let mut history = world.history();
        let entries = updates.iter().map(|update| {
            let old =
                update.expected.and_then(|expected| balances.get(&(update.lineage, expected)));
            Entry { by: store.life, ..entry_of(update, old, is_top_up, world.now()) }
        });
        let first = history.books.entries.len();
        history.books.entries.extend(entries);
        Self { store, updates, places: (first..history.books.entries.len()).collect() }
    }

    fn change(&self, change: impl Fn(&mut Entry)) {
        let mut history = self.store.shared.world.history();
        self.places.iter().for_each(|place| change(&mut history.books.entries[*place]));
    }

    /// How many requests were let in so far.
    fn admitted(&self) -> usize {
        self.store.shared.world.history().books.admitted.len()
    }

    fn is_made(&self, now: Moment) {
        let after = self.admitted();
        self.change(|entry| {
            (entry.is_made, entry.at, entry.made_after) = (true, now, after);
        });
        let Shared { world, balances, refilled, .. } = &*self.store.shared;
        for (update, place) in self.updates.iter().zip(&self.places) {
            let BalanceUpdate { lineage, balance, .. } = update;
            balances.lock().unwrap().insert((*lineage, balance.revision), balance.clone());
            let entry = world.history().books.entries[*place];
            world.trace(|| format!("{:?} writes {entry:?}", self.store.life));
            match entry.change {
                Change::GivenBack(_) => world.saw("a lease was given back"),
                Change::Set(_) if entry.epoch > 0 => world.saw("a balance was set anew"),
                _ => {}
            }
            if entry.refill.is_some() {
                world.saw("a refill was granted");
                let node = self.store.life.map_or(usize::MAX, |life| life.node);
                let last = refilled.lock().unwrap().insert(entry.lineage, node);
                if last.is_some_and(|last| last != node) {
                    world.saw("a refill was granted by another node");
                }
            }
        }
    }

    fn is_heard(&self) {
        let after = self.admitted();
        self.change(|entry| entry.heard_after = Some(after));
    }
}

/// What an update does to a balance.
fn entry_of(update: &BalanceUpdate, old: Option<&Balance>, is_top_up: bool, at: Moment) -> Entry {
    let BalanceUpdate { lineage, balance: new, .. } = update;
    let entry = Entry {
        at,
        by: None,
        lineage: *lineage,
        epoch: new.epoch,
        revision: new.revision,
        change: Change::Set(new.remaining),
        refill: None,
        has_refills: new.refill.is_some(),
        is_made: false,
        made_after: 0,
        heard_after: None,
    };
    let Some(old) = old.filter(|old| old.epoch == new.epoch) else { return entry };
    let refill = new.refill.filter(|_| new.granted != old.granted && new.since == old.since);
    let refill = refill.map(|refill| Refilled {
        raise: refill.amount.get().saturating_sub(old.remaining),
        period: new.granted,
        begins: moment_of(refill.begin_of(new.since, new.granted)),
    });
    let before = old.remaining + refill.map_or(0, |refilled| refilled.raise);
    let change = if is_top_up {
        Change::ToppedUp(new.remaining.saturating_sub(before))
    } else if new.remaining > before {
        Change::GivenBack(new.remaining - before)
    } else {
        Change::Taken(before - new.remaining)
    };
    Entry { change, refill, ..entry }
}
