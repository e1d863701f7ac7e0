//! [`Index`]: the keys that are still to be proven, by their first characters.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    clock::Timestamp,
    key::{KeyId, KeyRecord, LegacyHash, ShortText},
    observe,
    store::{KeyQuery, KeyRepository, StoreError},
};

/// A key that another system issued and that was not used here yet.
pub(super) struct Candidate {
    pub(super) id: KeyId,
    pub(super) start: ShortText,
    pub(super) hash: LegacyHash,
}

pub(super) struct Index {
    /// The youngest first.
    by_start: HashMap<Box<str>, Vec<Arc<Candidate>>>,
    /// The lengths of the starts, the longest first: it says most.
    lengths: Vec<usize>,
    /// When it began to be loaded.
    as_of: Timestamp,
    /// Keys that cannot be found: their start is too short, or their hash cannot be used.
    unusable: Vec<KeyId>,
}

const PAGE: usize = 1000;
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A key whose start is shorter is not looked for: every unknown key would have to be hashed.
const MIN_START: usize = 4;

impl Index {
    /// Reads all keys with a slow hash from the repository.
    pub(super) async fn load(
        repository: &dyn KeyRepository,
        as_of: Timestamp,
    ) -> Result<Self, StoreError> {
        let by_start = HashMap::new();
        let mut index = Self { by_start, lengths: Vec::new(), as_of, unusable: Vec::new() };
        let mut query = KeyQuery::new(PAGE);
        query.legacy = true;
        loop {
            let page = timeout(PAGE_TIMEOUT, repository.list(&query)).await;
            let page = page.unwrap_or_else(|_| Err(StoreError::timeout()))?;
            page.items.iter().for_each(|record| index.add(record));
            match page.next {
                Some(last) => query.after = Some(last),
                None => break,
            }
        }
        let lengths: HashSet<_> = index.by_start.keys().map(|start| start.len()).collect();
        index.lengths.extend(lengths);
        index.lengths.sort_unstable_by(|a, b| b.cmp(a));
        Ok(index)
    }

    fn add(&mut self, record: &KeyRecord) {
        let Some(hash) = &record.details.legacy_hash else { return };
        if record.start.len() < MIN_START || LegacyHash::parse(hash.expose()).is_err() {
            self.unusable.push(record.id);
            return;
        }
        let (start, hash) = (record.start.clone(), hash.clone());
        let candidates = self.by_start.entry(start.as_str().into()).or_default();
        candidates.push(Arc::new(Candidate { id: record.id, start, hash }));
    }

    /// The keys that begin like this one.
    pub(super) fn candidates(&self, key: &str) -> impl Iterator<Item = &Arc<Candidate>> {
        let starts = self.lengths.iter().filter_map(move |length| key.get(..*length));
        starts.filter_map(|start| self.by_start.get(start)).flatten()
    }

    /// Forgets a key that was proven.
    pub(super) fn remove(&mut self, candidate: &Candidate) {
        if let Some(alike) = self.by_start.get_mut(candidate.start.as_str()) {
            alike.retain(|other| other.id != candidate.id);
            if alike.is_empty() {
                self.by_start.remove(candidate.start.as_str());
            }
        }
    }

    /// How long ago it was loaded.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        now.saturating_since(self.as_of)
    }

    /// Whether there is a key, or a hash of one, that the other does not have.
    pub(super) fn adds_to(&self, other: &Self) -> bool {
        let known: HashMap<_, _> = other.all().map(|key| (key.id, &key.hash)).collect();
        self.all().any(|key| known.get(&key.id).is_none_or(|hash| **hash != key.hash))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.by_start.values().flatten()
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.by_start.values().map(Vec::len).sum()
    }

    /// Tells what an administrator should know, unless the last index had told it.
    pub(super) fn report(&self, last: Option<&Self>, max_candidates: usize) {
        if let Some(id) = self.unusable.first()
            && last.is_none_or(|last| last.unusable != self.unusable)
        {
            observe::legacy_unusable(self.unusable.len(), *id);
        }
        let alike = |index: &Self| index.by_start.values().map(Vec::len).max().unwrap_or(0);
        if alike(self) > max_candidates && last.is_none_or(|last| alike(last) < alike(self)) {
            observe::legacy_alike(alike(self), max_candidates);
        }
    }
}
