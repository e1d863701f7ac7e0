//! The debts, by bucket and name of the limit.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::{
    entry::{Entry, Key},
    front::Miss,
    lease::Note,
    leases::{Leases, Lent, most_within},
};
#[cfg(test)]
use crate::runtime::sync::atomic::{AtomicU64, Ordering};
use crate::{
    key::{Limit, Limits, Quota},
    limit::limiter::{LimitCheck, LimitDecision, LimitState, LimitSubject},
    runtime::{DigestHash, Mutex, sync::MutexGuard},
};

/// Enough that threads rarely meet in one.
const SHARDS: usize = 64;

/// All debts. Those of one bucket are in one shard, so that one lock is enough to check and charge
/// all of its limits at once.
pub(super) struct Buckets {
    shards: Box<[Mutex<Shard>]>,
    leases: Leases,
    hash: DigestHash,
    /// Of owners, whose ids are as long as they like.
    owners: [RandomState; 2],
    shard_capacity: usize,
    /// How many requests no lease has let in.
    #[cfg(test)]
    shared: AtomicU64,
}

struct Shard {
    /// When each debt is paid off, in nanoseconds.
    paid_at: HashMap<Entry, u64, DigestHash>,
    /// The debts of which threads may hold leases.
    leased: HashMap<Entry, Leased, DigestHash>,
    /// Room for what threads have noted.
    notes: Vec<Note>,
    /// The number of entries with which those that owe nothing are looked for.
    reclaim_at: usize,
}

/// The leases of a debt.
#[derive(Clone, Copy)]
struct Leased {
    quota: Quota,
    /// How many threads have one, at the most.
    holders: u16,
}

/// With fewer entries it is not worth looking for those that owe nothing.
const FEW: usize = 64;

impl Buckets {
    pub(super) fn new(capacity: usize) -> Self {
        let hash = DigestHash::default();
        let shard = || Shard {
            paid_at: HashMap::with_hasher(hash),
            leased: HashMap::with_hasher(hash),
            notes: Vec::new(),
            reclaim_at: FEW,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            leases: Leases::default(),
            hash,
            owners: [RandomState::new(), RandomState::new()],
            shard_capacity: capacity.div_ceil(SHARDS).max(1),
            #[cfg(test)]
            shared: AtomicU64::new(0),
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
        Key::new(words, self.hash)
    }

    #[inline]
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        // The map mixes the hash once more, so that its places do not follow from the shard.
        let place = usize::try_from(key.hash() >> 32).unwrap_or(0) % SHARDS;
        self.shards[place].lock()
    }

    /// Decides, and says whether there is a new entry.
    #[inline]
    pub(super) fn check(&self, check: &LimitCheck<'_>, now: u64) -> (LimitDecision, bool) {
        let key = self.key(check.subject);
        // Nearly all keys have one limit.
        if let [limit] = &**check.limits {
            let entry = key.limit(limit.tag());
            return match self.leases.charge(&entry, limit.quota(), check.cost, now) {
                Ok(owed) => (LimitDecision::Allow(LimitState::new(check.limits, 0, owed)), false),
                Err(miss) => self.check_shared(key, &entry, check, now, &miss),
            };
        }
        self.shard(key).check_all(key, check, now, self.shard_capacity, &self.leases)
    }

    /// Decides about a request that no lease lets in, and lends some more.
    fn check_shared(
        &self,
        key: Key,
        entry: &Entry,
        check: &LimitCheck<'_>,
        now: u64,
        miss: &Miss,
    ) -> (LimitDecision, bool) {
        #[cfg(test)]
        self.shared.fetch_add(1, Ordering::Relaxed);
        if let Some(victim) = &miss.victim {
            self.shard(victim.key(self.hash)).take_back(&victim.entry(self.hash), &self.leases);
        }
        self.shard(key).check(entry, check, now, miss, self)
    }

    /// Takes back what has not been paid off by now, so long after the request was counted.
    pub(super) fn give_back(&self, check: &LimitCheck<'_>, after: u64, now: u64) {
        let key = self.key(check.subject);
        let mut shard = self.shard(key);
        for limit in check.limits {
            let entry = key.limit(limit.tag());
            shard.take_back(&entry, &self.leases);
            if let Some(paid_at) = shard.paid_at.get_mut(&entry) {
                let charge = limit.quota().charge(check.cost);
                *paid_at = paid_at.saturating_sub(charge.saturating_sub(after)).max(now);
            }
        }
    }

    /// How many leases there are, of all threads.
    #[cfg(test)]
    pub(super) fn leases(&self) -> usize {
        self.leases.len()
    }

    /// How many requests no lease has let in.
    #[cfg(test)]
    pub(super) fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().paid_at.len()).sum()
    }

    pub(super) fn reclaim(&self, now: u64) {
        for shard in &self.shards {
            shard.lock().reclaim(now, &self.leases);
        }
    }
}

impl Shard {
    fn check(
        &mut self,
        entry: &Entry,
        check: &LimitCheck<'_>,
        now: u64,
        miss: &Miss,
        buckets: &Buckets,
    ) -> (LimitDecision, bool) {
        let limits = check.limits;
        let Some(quota) = limits.first().map(Limit::quota) else {
            return (LimitDecision::Allow(LimitState::new(limits, 0, 0)), false);
        };
        let charge = quota.charge(check.cost);
        let lent = self.settle(entry, quota, charge, now, miss, &buckets.leases);
        // Looked up once, and charged where it was found.
        let known = self.paid_at.get_mut(entry);
        let owed = known.as_ref().map_or(0, |paid_at| paid_at.saturating_sub(now));
        let is_new = known.is_none();
        let after = match quota.admit(owed, charge) {
            Ok(after) => after,
            Err(wait) => return (denied(limits, 0, owed, wait), false),
        };
        let paid_at = now.saturating_add(after);
        match known {
            Some(known) => *known = paid_at,
            None => self.insert(*entry, paid_at, now, buckets.shard_capacity, &buckets.leases),
        }
        let holders = buckets.leases.share(entry, quota, lent, after, now, miss.is_wanted);
        if let Some(holders) = holders {
            self.leased.insert(*entry, Leased { quota, holders });
        }
        (LimitDecision::Allow(LimitState::new(limits, 0, after)), is_new)
    }

    /// Makes the debt what it is without leases. What is still lent is returned: nothing, unless
    /// plenty is left after another charge.
    #[inline]
    fn settle(
        &mut self,
        entry: &Entry,
        quota: Quota,
        charge: u64,
        now: u64,
        miss: &Miss,
        leases: &Leases,
    ) -> Lent {
        if self.leased.is_empty() {
            return Lent::NOTHING;
        }
        match self.leased.get(entry) {
            Some(known) if known.quota == quota => {
                let most = most_within(miss.gap, quota, known.holders.saturating_sub(1));
                let lent = self.collect(entry, most, leases);
                let owed = self.owed(entry, now).saturating_add(charge);
                if lent.leaves_plenty(quota, owed) {
                    return lent;
                }
                self.take_back(entry, leases);
            }
            Some(_) => self.take_back(entry, leases),
            None => {}
        }
        Lent::NOTHING
    }

    /// Ends all leases of a debt.
    fn take_back(&mut self, entry: &Entry, leases: &Leases) {
        if !self.leased.is_empty() && self.leased.remove(entry).is_some() {
            self.collect(entry, 0, leases);
        }
    }

    /// Charges what threads have let in.
    fn collect(&mut self, entry: &Entry, most: u8, leases: &Leases) -> Lent {
        let lent = leases.collect(entry, most, &mut self.notes);
        if let Some(paid_at) = self.paid_at.get_mut(entry) {
            for note in &self.notes {
                *paid_at = note.at.max(*paid_at).saturating_add(note.charge);
            }
        }
        self.notes.clear();
        lent
    }

    /// The same for several limits: all of them are asked before any is charged.
    fn check_all(
        &mut self,
        key: Key,
        check: &LimitCheck<'_>,
        now: u64,
        capacity: usize,
        leases: &Leases,
    ) -> (LimitDecision, bool) {
        let (limits, cost) = (check.limits, check.cost);
        let entry = |place: usize| key.limit(limits[place].tag());
        for place in 0..limits.len() {
            self.take_back(&entry(place), leases);
        }
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
            let paid_at = now.saturating_add(after);
            match self.paid_at.get_mut(&entry(place)) {
                Some(known) => *known = paid_at,
                None => self.insert(entry(place), paid_at, now, capacity, leases),
            }
        }
        let owed = (0..limits.len()).map(|place| self.owed(&entry(place), now));
        (LimitDecision::Allow(LimitState::nearest(limits, owed)), self.paid_at.len() > before)
    }

    fn owed(&self, entry: &Entry, now: u64) -> u64 {
        self.paid_at.get(entry).map_or(0, |paid_at| paid_at.saturating_sub(now))
    }

    fn insert(&mut self, entry: Entry, paid_at: u64, now: u64, capacity: usize, leases: &Leases) {
        if self.paid_at.len() >= self.reclaim_at.min(capacity) {
            self.reclaim(now, leases);
            if self.paid_at.len() >= capacity {
                self.forget_some();
            }
        }
        self.paid_at.insert(entry, paid_at);
    }

    /// Ends all leases, and removes what owes nothing. That is done again once there are twice as many entries as are
    /// left, so that inserting stays cheap whatever there is.
    fn reclaim(&mut self, now: u64, leases: &Leases) {
        while let Some(entry) = self.leased.keys().next().copied() {
            self.take_back(&entry, leases);
        }
        self.leased.shrink_to_fit();
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
