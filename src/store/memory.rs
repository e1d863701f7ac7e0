//! [`MemoryStore`]: keys in the process's memory.

mod capabilities;
mod records;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::IpAddr,
    ops::{Bound, Deref, DerefMut},
    sync::Arc,
};

use self::records::Records;
use super::{
    KeyStore, Lookup, SharedRecord, StoreId,
    balances::BalanceUpdate,
    capabilities::{
        AuditLog, BalanceStore, KnownDigests, RequestLog, SelectedChanges, UsageLog, Watermarks,
    },
    fronts::{Change, Fronts},
    list::{KeyPage, KeyQuery},
    repository::{ApplyOutcome, Changes, KeyRepository, KeyUpdate, KeyUse},
    requests::{KEPT, RequestRecord},
    watermark::{WatermarkRecord, read_below},
};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::{StoreError, StoreErrorKind},
    key::{
        Balance, Details, EventId, HourlyUsage, KeyDigest, KeyEvent, KeyId, KeyRecord, OwnerId,
        UsageQuery,
    },
    runtime::{
        DigestMap, MapDigest, RwLock, async_methods,
        sync::{RwLockReadGuard, RwLockWriteGuard},
    },
};

/// Keys in the process's memory: for tests, and for keys that need not outlive the process.
///
/// Clones share the same keys. Lookups never wait. Nothing is ever written to disk.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Memory>);

#[derive(Default)]
struct Memory {
    keys: RwLock<Keys>,
    fronts: Fronts,
}

struct Keys {
    clock: Arc<dyn Clock>,
    identity: Option<StoreId>,
    records: Records,
    /// The keys that were created by a request with an id.
    requests: DigestMap<KeyId>,
    balances: BTreeMap<KeyId, Balance>,
    /// The effects of requests, by the lineage and the request.
    acts: BTreeMap<(KeyId, [u8; 32]), RequestRecord>,
    /// By what tells them apart: the lineage, the hour and the name of the outcome.
    usage: BTreeMap<(KeyId, Timestamp, &'static str), HourlyUsage>,
    events: BTreeMap<EventId, KeyEvent>,
    watermarks: Vec<WatermarkRecord>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            identity: StoreId::random(),
            records: Records::default(),
            requests: DigestMap::default(),
            balances: BTreeMap::default(),
            acts: BTreeMap::default(),
            usage: BTreeMap::default(),
            events: BTreeMap::default(),
            watermarks: Vec::new(),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the time from this clock, for all clones. It decides when credits come back and when a key
    /// was created, as the server's clock does where there is a database.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.write().clock = Arc::new(clock);
        self
    }

    #[inline]
    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.keys.read()
    }

    fn write(&self) -> Writing<'_> {
        let keys = self.0.keys.write();
        Writing { _change: self.0.fronts.begin(None), keys }
    }

    #[inline]
    fn lookup(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        let keys = self.read();
        keys.records
            .find(digest)
            .filter(|record| !record.is_deleted())
            .map(|record| keys.as_read(record))
    }
}

/// The keys while they are changed. The change ends before the lock does.
struct Writing<'s> {
    _change: Change<'s>,
    keys: RwLockWriteGuard<'s, Keys>,
}

impl Deref for Writing<'_> {
    type Target = Keys;

    fn deref(&self) -> &Keys {
        &self.keys
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }
}

impl Keys {
    /// A record as it is read while there are watermarks.
    #[inline]
    fn as_read(&self, record: &Arc<KeyRecord>) -> Arc<KeyRecord> {
        if self.watermarks.is_empty() {
            return record.clone();
        }
        read_below(&self.watermarks, record)
    }

    /// Whether ids, digests and requests are unique after these changes.
    fn check(&self, inserts: &[KeyRecord], updates: &[KeyUpdate]) -> Result<(), StoreError> {
        let (mut ids, mut digests) = (HashSet::new(), HashSet::new());
        let mut requests = HashSet::new();
        let inserts = inserts.iter().map(|record| (record, None));
        let updates =
            updates.iter().map(|update| (&update.record, self.records.get(update.record.id)));
        for (record, old) in inserts.chain(updates) {
            let is_anothers = |id: &KeyId| old.is_none_or(|old| old.id != *id);
            let digest = MapDigest::from(&record.digest);
            let request = record.details.request.as_ref().map(MapDigest::from);
            let known = (old.is_none() && self.records.get(record.id).is_some())
                || self.records.find(&record.digest).is_some_and(|other| is_anothers(&other.id))
                || request
                    .is_some_and(|request| self.requests.get(&request).is_some_and(is_anothers));
            let twice = !ids.insert(record.id)
                || !digests.insert(digest)
                || request.is_some_and(|request| !requests.insert(request));
            if known || twice {
                return Err(StoreError::new(StoreErrorKind::Duplicate));
            }
        }
        Ok(())
    }

    fn is_stale(&self, update: &KeyUpdate) -> bool {
        let is_revoked = update.record.details.revoked_at.is_some();
        self.records.get(update.record.id).is_none_or(|old| {
            let is_ended = || self.watermarks.iter().any(|mark| mark.watermark.ends(old));
            old.revision != update.expected || !is_revoked && is_ended()
        })
    }

    fn is_stale_balance(&self, update: &BalanceUpdate) -> bool {
        self.balances.get(&update.lineage).map(|old| old.revision) != update.expected
            || update.due.is_some_and(|due| due > self.clock.now())
    }

    /// Whether one of these requests was done already, or is among them twice.
    fn are_done(&self, requests: &[RequestRecord]) -> bool {
        let mut places = HashSet::new();
        requests.iter().map(place_of).any(|place| {
            let is_first = places.insert(place);
            !is_first || self.acts.contains_key(&place)
        })
    }

    /// Whether the time of a watermark has not come yet.
    fn is_early(&self, new: Option<&WatermarkRecord>) -> bool {
        new.is_some_and(|new| new.watermark.issued_before > self.clock.now())
    }

    /// Whether an owner would have more live keys than its bound allows.
    fn is_beyond(&self, changes: &Changes) -> bool {
        let Some(bound) = &changes.owner_bound else { return false };
        let replaced: HashSet<KeyId> = changes.updates.iter().map(|u| u.record.id).collect();
        let others = self.records.iter().filter(|record| !replaced.contains(&record.id));
        let updates = changes.updates.iter().map(|update| &update.record);
        let all = others.map(|record| &**record).chain(updates).chain(&changes.inserts);
        let is_live = |record: &&KeyRecord| {
            let is_ended = self.watermarks.iter().any(|mark| mark.watermark.ends(record));
            bound.counts(record) && !is_ended
        };
        all.filter(is_live).count() > bound.max_keys as usize
    }

    /// Makes all of these changes or none.
    fn apply(&mut self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        self.check(&changes.inserts, &[])?;
        if changes.updates.iter().any(|update| self.is_stale(update))
            || changes.balances.iter().any(|update| self.is_stale_balance(update))
            || self.are_done(&changes.requests)
            || self.is_early(changes.watermark.as_ref())
        {
            return Ok(ApplyOutcome::Stale);
        }
        self.check(&changes.inserts, &changes.updates)?;
        if self.is_beyond(changes) {
            return Ok(ApplyOutcome::TooManyKeys);
        }
        for record in &changes.inserts {
            self.put(Arc::new(record.clone()));
        }
        for KeyUpdate { record, .. } in &changes.updates {
            self.replace(record);
        }
        for BalanceUpdate { lineage, balance, .. } in &changes.balances {
            self.balances.insert(*lineage, balance.clone());
        }
        let at = self.clock.now();
        for request in &changes.requests {
            self.acts.insert(place_of(request), RequestRecord { at, ..request.clone() });
        }
        if let Some(new) = &changes.watermark
            && self.watermarks.iter().all(|mark| mark.watermark != new.watermark)
        {
            self.watermarks.push(WatermarkRecord { revoked_at: at, ..new.clone() });
        }
        self.events.extend(changes.events.iter().map(|event| (event.id, event.clone())));
        Ok(ApplyOutcome::Done)
    }

    fn usage<'k>(&'k self, query: &'k UsageQuery) -> impl Iterator<Item = &'k HourlyUsage> {
        self.usage.values().filter(|usage| query.matches(usage))
    }

    fn put(&mut self, record: Arc<KeyRecord>) {
        if let Some(request) = &record.details.request {
            self.requests.insert(MapDigest::from(request), record.id);
        }
        self.records.put(record);
    }

    fn replace(&mut self, record: &KeyRecord) {
        let Some(old) = self.records.get(record.id).cloned() else { return };
        if let Some(request) = &old.details.request {
            self.requests.remove(&MapDigest::from(request));
        }
        self.put(Arc::new(KeyRecord {
            created_at: old.created_at,
            last_used_at: old.last_used_at,
            use_count: old.use_count,
            details: used_from(record.details.clone(), old.details.last_used_from),
            ..record.clone()
        }));
    }
}

impl KeyStore for MemoryStore {
    #[inline]
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        Some(self.lookup(digest).into())
    }

    #[inline]
    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        Some(self.0.fronts.find_in_memory(digest, || self.lookup(digest)))
    }

    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            Ok(self.lookup(digest))
        }

        async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.get(id).await
        }
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        Some(self)
    }

    async_methods! {
        async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
            Ok(self.read().identity)
        }
    }
}

impl KeyRepository for MemoryStore {
    async_methods! {
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
            self.write().apply(changes)
        }
    }

    fn bounds_owners(&self) -> bool {
        true
    }

    async_methods! {
        async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            let keys = self.read();
            Ok(keys.records.get(id).map(|record| keys.as_read(record)))
        }

        async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
            let keys = self.read();
            // Starts at the cursor and not at the end, so that every page costs the same.
            let up_to = query.after.unwrap_or(KeyId::from_bytes([0xff; 16]));
            let records = keys.records.range((Bound::Unbounded, Bound::Included(up_to))).rev();
            let items = records
                .map(|record| keys.as_read(record))
                .filter(|record| query.matches(record))
                .take(query.limit.saturating_add(1))
                .collect();
            Ok(KeyPage::from_one_more(items, query.limit))
        }

        async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
            let mut keys = self.write();
            for key_use in uses {
                if let Some(old) = keys.records.get(key_use.id).cloned() {
                    let mut record = KeyRecord::clone(&old);
                    record.use_count = old.use_count.saturating_add(key_use.count);
                    if let Some(address) = key_use.last_used_from
                        && old.last_used_at.is_none_or(|last| last <= key_use.last_used_at)
                    {
                        record.details.last_used_from = Some(address);
                    }
                    record.last_used_at = old.last_used_at.max(Some(key_use.last_used_at));
                    keys.put(Arc::new(record));
                }
            }
            Ok(())
        }

        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError> {
            let mut keys = self.write();
            let old = |time: Option<Timestamp>| time.is_some_and(|time| time < before);
            let gone = |record: &KeyRecord| {
                (old(record.details.revoked_at) || old(record.details.deleted_at))
                    && owner.is_none_or(|owner| record.owner.as_ref() == Some(owner))
            };
            let count = keys.records.len();
            keys.records.retain(|record| !gone(record));
            let Keys { records, requests, balances, .. } = &mut *keys;
            requests.retain(|_, id| records.get(*id).is_some());
            let lineages: HashSet<KeyId> = records.iter().map(|record| record.lineage()).collect();
            balances.retain(|lineage, _| lineage.may_be_of_owner() || lineages.contains(lineage));
            if owner.is_none() {
                let now = keys.clock.now();
                keys.acts.retain(|_, act| act.at >= before || now.saturating_since(act.at) <= KEPT);
            }
            Ok((count - keys.records.len()) as u64)
        }
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        Some(self)
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        Some(self)
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        Some(self)
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

fn place_of(request: &RequestRecord) -> (KeyId, [u8; 32]) {
    (request.lineage, *request.request.as_bytes())
}

/// With the address of the last use, which an update leaves alone.
fn used_from(mut details: Details, address: Option<IpAddr>) -> Details {
    if details.last_used_from != address {
        details.last_used_from = address;
    }
    details
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} keys)", self.read().records.len())
    }
}
