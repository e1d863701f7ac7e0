//! [`MemoryStore`]: keys in the process's memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;

use super::{
    KeyRepository, KeyStore, KeyUse, ListQuery, Lookup, Page, StoreError, StoreErrorKind, Update,
    digest_map::{DigestMap, MapDigest},
};
use crate::{KeyDigest, KeyId, KeyRecord, Timestamp};

/// Keys in the process's memory: for tests, and for keys that need not outlive the process.
///
/// Clones share the same keys. Lookups never wait. Nothing is ever written to disk.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<RwLock<Keys>>);

#[derive(Default)]
struct Keys {
    by_id: BTreeMap<KeyId, Arc<KeyRecord>>,
    /// Every key, deleted ones included, since digests stay taken.
    by_digest: DigestMap<Arc<KeyRecord>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    // No code that can panic runs under the lock, so a poisoned one still guards sound data.
    #[inline]
    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn lookup(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        let keys = self.read();
        keys.by_digest.get(&MapDigest::from(digest)).filter(|record| !record.is_deleted()).cloned()
    }
}

impl Keys {
    fn put(&mut self, record: Arc<KeyRecord>) {
        self.by_digest.insert(MapDigest::from(&record.digest), record.clone());
        self.by_id.insert(record.id, record);
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    #[inline]
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        Some(self.lookup(digest).into())
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(self.lookup(digest))
    }
}

#[async_trait]
impl KeyRepository for MemoryStore {
    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let mut keys = self.write();
        let taken = keys.by_id.contains_key(&record.id)
            || keys.by_digest.contains_key(&MapDigest::from(&record.digest));
        if taken {
            return Err(StoreError::new(StoreErrorKind::Duplicate));
        }
        keys.put(Arc::new(record.clone()));
        Ok(())
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(self.read().by_id.get(&id).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let keys = self.read();
        let wanted = |record: &&Arc<KeyRecord>| {
            !record.is_deleted()
                && (query.owner.is_none() || record.owner == query.owner)
                && query.after.is_none_or(|after| record.id < after)
        };
        // Starts at the cursor and not at the end, so that every page costs the same.
        let up_to = query.after.unwrap_or(KeyId::from_bytes([0xff; 16]));
        let records = keys.by_id.range(..=up_to).rev().map(|(_, record)| record);
        let items = records.filter(wanted).take(query.limit.saturating_add(1)).cloned().collect();
        Ok(Page::from_one_more(items, query.limit))
    }

    async fn update(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        let mut keys = self.write();
        let Some(old) = keys.by_id.get(&record.id).cloned() else { return Ok(Update::Stale) };
        if old.revision != expected {
            return Ok(Update::Stale);
        }
        if old.digest != record.digest {
            if keys.by_digest.contains_key(&MapDigest::from(&record.digest)) {
                return Err(StoreError::new(StoreErrorKind::Duplicate));
            }
            keys.by_digest.remove(&MapDigest::from(&old.digest));
        }
        keys.put(Arc::new(KeyRecord {
            created_at: old.created_at,
            last_used_at: old.last_used_at,
            use_count: old.use_count,
            ..record.clone()
        }));
        Ok(Update::Done)
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let mut keys = self.write();
        for key_use in uses {
            if let Some(old) = keys.by_id.get(&key_use.id).cloned() {
                let mut record = KeyRecord::clone(&old);
                record.use_count = old.use_count.saturating_add(key_use.count);
                record.last_used_at = old.last_used_at.max(Some(key_use.last_used_at));
                keys.put(Arc::new(record));
            }
        }
        Ok(())
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut keys = self.write();
        let old = |time: Option<Timestamp>| time.is_some_and(|time| time < before);
        let gone = |record: &KeyRecord| old(record.revoked_at) || old(record.details.deleted_at);
        let count = keys.by_id.len();
        keys.by_id.retain(|_, record| !gone(record));
        keys.by_digest.retain(|_, record| !gone(record));
        Ok((count - keys.by_id.len()) as u64)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} keys)", self.read().by_id.len())
    }
}
