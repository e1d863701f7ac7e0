//! The debts, by bucket and name of the limit.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::MutexGuard,
    time::Duration,
};

use crate::{
    key::Limits,
    limit::limiter::{LimitCheck, LimitDecision, LimitState, LimitSubject},
    runtime::{DigestHash, Mutex},
};

/// Enough that threads rarely meet in one.
const SHARDS: usize = 64;

/// All debts. Those of one bucket are in one shard, so that one lock is enough to check and charge
/// all of its limits at once.
pub(super) struct Buckets {
    shards: Box<[Mutex<Shard>]>,
    hash: DigestHash,
    /// Of owners, whose ids are as long as they like.
    owners: [RandomState; 2],
    shard_capacity: usize,
}

struct Shard {
    /// When each debt is paid off, in nanoseconds.
    paid_at: HashMap<Entry, u64, DigestHash>,
    /// The number of entries with which those that owe nothing are looked for.
    reclaim_at: usize,
}

/// A bucket, with the hash that its part of the map and its place there are found by.
#[derive(Clone, Copy)]
struct Key {
    words: [u64; 2],
    hash: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    /// See [`Limit::tag`](crate::limit::Limit::tag).
    limit: u64,
}

impl PartialEq for Entry {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key.words == other.key.words && self.limit == other.limit
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key.hash ^ self.limit);
    }
}

/// With fewer entries it is not worth looking for those that owe nothing.
const FEW: usize = 64;

impl Buckets {
    pub(super) fn new(capacity: usize) -> Self {
        let hash = DigestHash::default();
        let shard = || Shard { paid_at: HashMap::with_hasher(hash), reclaim_at: FEW };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hash,
            owners: [RandomState::new(), RandomState::new()],
            shard_capacity: capacity.div_ceil(SHARDS).max(1),
        }
    }

    #[inline]
    fn key(&self, subject: LimitSubject<'_>) -> Key {
        let words = match subject {
            LimitSubject::Lineage(id) => {
                let bits = u128::from_ne_bytes(*id.as_bytes());
                #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
                [bits as u64, (bits >> 64) as u64]
            }
            // 128 bits that cannot be computed outside: no owner finds another's bucket.
            LimitSubject::Owner(owner) => {
                [0, 1].map(|half: usize| self.owners[half].hash_one(owner))
            }
        };
        Key { words, hash: self.hash.hash_one(words[0] ^ words[1].rotate_left(32)) }
    }

    #[inline]
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        // The map mixes the hash once more, so that its places do not follow from the shard.
        let place = usize::try_from(key.hash >> 32).unwrap_or(0) % SHARDS;
        self.shards[place].lock()
    }

    /// Decides, and says whether there is a new entry.
    #[inline]
    pub(super) fn check(&self, check: &LimitCheck<'_>, now: u64) -> (LimitDecision, bool) {
        let key = self.key(check.subject);
        self.shard(key).check(key, check, now, self.shard_capacity)
    }

    /// Takes back what has not been paid off by now, so long after the request was counted.
    pub(super) fn give_back(&self, check: &LimitCheck<'_>, after: u64, now: u64) {
        let key = self.key(check.subject);
        let mut shard = self.shard(key);
        for limit in check.limits {
            if let Some(paid_at) = shard.paid_at.get_mut(&Entry { key, limit: limit.tag() }) {
                let charge = limit.quota().charge(check.cost);
                *paid_at = paid_at.saturating_sub(charge.saturating_sub(after)).max(now);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().paid_at.len()).sum()
    }

    pub(super) fn reclaim(&self, now: u64) {
        for shard in &self.shards {
            shard.lock().reclaim(now);
        }
    }
}

impl Shard {
    #[inline]
    fn check(
        &mut self,
        key: Key,
        check: &LimitCheck<'_>,
        now: u64,
        capacity: usize,
    ) -> (LimitDecision, bool) {
        let (limits, cost) = (check.limits, check.cost);
        // Nearly all keys have one limit: looked up once, and charged where it was found.
        if let [limit] = &**limits {
            let charge = limit.quota().charge(cost);
            let entry = Entry { key, limit: limit.tag() };
            let known = self.paid_at.get_mut(&entry);
            let owed = known.as_ref().map_or(0, |paid_at| paid_at.saturating_sub(now));
            return match (limit.quota().admit(owed, charge), known) {
                (Ok(after), Some(paid_at)) => {
                    *paid_at = now.saturating_add(after);
                    (LimitDecision::Allow(LimitState::new(limits, 0, after)), false)
                }
                (Ok(after), None) => {
                    self.insert(entry, now.saturating_add(after), now, capacity);
                    (LimitDecision::Allow(LimitState::new(limits, 0, after)), true)
                }
                (Err(wait), _) => (denied(limits, 0, owed, wait), false),
            };
        }
        self.check_all(key, limits, cost, now, capacity)
    }

    /// The same for several limits: all of them are asked before any is charged.
    fn check_all(
        &mut self,
        key: Key,
        limits: &Limits,
        cost: u32,
        now: u64,
        capacity: usize,
    ) -> (LimitDecision, bool) {
        let entry = |place: usize| Entry { key, limit: limits[place].tag() };
        let mut longest: Option<(usize, u64, u64)> = None;
        for (place, limit) in limits.iter().enumerate() {
            let owed = self.owed(&entry(place), now);
            if let Err(wait) = limit.quota().admit(owed, limit.quota().charge(cost))
                && longest.is_none_or(|(_, _, other)| wait > other)
            {
                longest = Some((place, owed, wait));
            }
        }
        if let Some((place, owed, wait)) = longest {
            return (denied(limits, place, owed, wait), false);
        }
        let before = self.paid_at.len();
        for (place, limit) in limits.iter().enumerate() {
            let after = self.owed(&entry(place), now) + limit.quota().charge(cost);
            match self.paid_at.get_mut(&entry(place)) {
                Some(paid_at) => *paid_at = now.saturating_add(after),
                None => self.insert(entry(place), now.saturating_add(after), now, capacity),
            }
        }
        let owed = (0..limits.len()).map(|place| self.owed(&entry(place), now));
        (LimitDecision::Allow(LimitState::nearest(limits, owed)), self.paid_at.len() > before)
    }

    fn owed(&self, entry: &Entry, now: u64) -> u64 {
        self.paid_at.get(entry).map_or(0, |paid_at| paid_at.saturating_sub(now))
    }

    fn insert(&mut self, entry: Entry, paid_at: u64, now: u64, capacity: usize) {
        if self.paid_at.len() >= self.reclaim_at.min(capacity) {
            self.reclaim(now);
            if self.paid_at.len() >= capacity {
                self.forget_some();
            }
        }
        self.paid_at.insert(entry, paid_at);
    }

    /// Removes what owes nothing. That is done again once there are twice as many entries as are
    /// left, so that inserting stays cheap whatever there is.
    fn reclaim(&mut self, now: u64) {
        self.paid_at.retain(|_, paid_at| *paid_at > now);
        self.reclaim_at = (2 * self.paid_at.len()).max(FEW);
        if self.paid_at.capacity() > 4 * self.reclaim_at {
            self.paid_at.shrink_to(self.reclaim_at);
        }
        if self.paid_at.is_empty() {
            self.paid_at.shrink_to_fit();
        }
    }

    /// Forgets the eighth that is paid off the soonest, so that not every new entry has to look for
    /// one.
    fn forget_some(&mut self) {
        let mut times: Vec<u64> = self.paid_at.values().copied().collect();
        let some = times.len() / 8;
        let (_, &mut last, _) = times.select_nth_unstable(some);
        self.paid_at.retain(|_, paid_at| *paid_at > last);
    }
}

#[cold]
fn denied(limits: &Limits, place: usize, owed: u64, wait: u64) -> LimitDecision {
    let state = LimitState::new(limits, place, owed);
    LimitDecision::Deny { state, retry_after: Duration::from_nanos(wait) }
}
