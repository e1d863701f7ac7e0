//! The leases of all buckets that a node serves.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
// A clock that a test can hold.
#[cfg(not(test))]
use std::time::Instant;

use tokio::runtime::Handle;
#[cfg(test)]
use tokio::time::Instant;

use super::{
    buckets::Buckets,
    lease::{Lease, Moment, batch},
};
use crate::{
    clock::nanos,
    key::{KeyId, OwnerId},
    limit::limiter::{LimitCheck, LimitDecision, LimitSubject},
    runtime::{Background, DigestHash, Mutex},
};

/// How many buckets may have a lease. Each takes some 350 bytes, and all that are not in use are
/// forgotten; requests of more are decided one by one.
const MAX: usize = SHARDS * 4_096;
const SHARDS: usize = 256;

/// Leases of fewer requests are hardly better than none.
pub(super) const LEAST: u32 = 8;

pub(super) struct Leases {
    pub(super) time: Duration,
    /// What moments count from.
    started: Instant,
    by_lineage: DigestHash,
    by_owner: RandomState,
    pub(super) shards: Box<[Mutex<Shard>]>,
    /// There is a task that looks after them.
    pub(super) sweeping: Background,
    /// Nothing is lent to them any more.
    pub(super) is_closed: AtomicBool,
}

/// By hash. Where two buckets have the same, the second has no lease.
pub(super) type Shard = HashMap<u64, Held, BuildHasherDefault<Given>>;

pub(super) struct Held {
    pub(super) subject: Subject,
    pub(super) lease: Lease,
}

#[derive(Clone)]
pub(super) enum Subject {
    Lineage(KeyId),
    Owner(OwnerId),
}

impl Subject {
    fn of(subject: &LimitSubject<'_>) -> Self {
        match subject {
            LimitSubject::Lineage(id) => Self::Lineage(*id),
            LimitSubject::Owner(owner) => Self::Owner((*owner).clone()),
        }
    }

    #[inline]
    pub(super) fn borrowed(&self) -> LimitSubject<'_> {
        match self {
            Self::Lineage(id) => LimitSubject::Lineage(*id),
            Self::Owner(owner) => LimitSubject::Owner(owner),
        }
    }
}

#[cfg(feature = "metrics")]
impl crate::observe::FigureSource for Leases {
    fn tell(&self, told: &mut crate::observe::Told) {
        told.buckets("redis", self.shards.iter().map(|shard| shard.lock().len()).sum());
    }
}

impl Leases {
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            started: Instant::now(),
            by_lineage: DigestHash::default(),
            by_owner: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sweeping: Background::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// For a test with few buckets, in the same order in each run.
    #[cfg(test)]
    pub(super) fn of_a_few_buckets(time: Duration) -> Self {
        let shards = (0..2).map(|_| Mutex::default()).collect();
        Self { by_lineage: DigestHash::seeded(0), shards, ..Self::new(time) }
    }

    #[inline]
    pub(super) fn now(&self) -> Moment {
        nanos(self.started.elapsed())
    }

    #[inline]
    pub(super) fn hash(&self, subject: &LimitSubject<'_>) -> u64 {
        match subject {
            LimitSubject::Lineage(id) => {
                let (start, end) = id.as_bytes().split_at(8);
                let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes);
                let mut hasher = self.by_lineage.build_hasher();
                hasher.write_u64(word(start).unwrap_or_default());
                hasher.write_u64(word(end).unwrap_or_default());
                hasher.finish()
            }
            LimitSubject::Owner(owner) => self.by_owner.hash_one(owner),
        }
    }

    #[inline]
    pub(super) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // Of bits that the map does not use.
        let shard = (hash >> 32) as usize % self.shards.len();
        self.shards[shard].lock()
    }

    /// Decides what can be decided without asking, and whether it is time to ask for more.
    #[inline]
    pub(super) fn decide(&self, check: &LimitCheck<'_>) -> Option<(LimitDecision, bool)> {
        let (hash, now) = (self.hash(&check.subject), self.now());
        let mut shard = self.shard(hash);
        let held = shard.get_mut(&hash)?;
        let is_this =
            held.subject.borrowed() == check.subject && held.lease.limits.is(check.limits);
        if !is_this {
            return None;
        }
        let decision = held.lease.decide(check.cost, now)?;
        Some((decision, held.lease.is_low(now)))
    }

    /// Whether all limits are so large that leases are worth it, and that what they keep back of a
    /// burst is not missed.
    pub(super) fn is_leased(&self, check: &LimitCheck<'_>) -> bool {
        let time = nanos(self.time);
        check.limits.iter().all(|limit| {
            let (quota, room) = (limit.quota(), limit.quota().room());
            room / 2 >= time
                && quota.charge(check.cost) <= room - time
                && batch(quota, self.time) >= LEAST.into()
        }) && !self.is_closed.load(Ordering::Relaxed)
    }

    /// Remembers that a request was denied that had asked for itself.
    pub(super) fn denied(
        self: &Arc<Self>,
        check: &LimitCheck<'_>,
        decision: &LimitDecision,
        buckets: &Buckets,
    ) {
        let Ok(runtime) = Handle::try_current() else { return };
        self.sweep(&runtime, buckets);
        let (hash, now) = (self.hash(&check.subject), self.now());
        let mut shard = self.shard(hash);
        if let Some(held) = held(&mut shard, hash, check, now)
            && held.lease.is_over(now)
        {
            held.lease.denied(check.cost, decision, now, self.time);
        }
    }

    /// Takes back a request that was let in so long ago, if that was by a lease; otherwise the server
    /// has to.
    pub(super) fn give_back(&self, check: &LimitCheck<'_>, after: Duration) -> bool {
        let is_leased = self.is_leased(check);
        let (hash, now) = (self.hash(&check.subject), self.now());
        let let_in = now.saturating_sub(nanos(after));
        let mut shard = self.shard(hash);
        if let Some(held) = shard.get_mut(&hash)
            && held.subject.borrowed() == check.subject
        {
            let is_of_lease = is_leased && held.lease.limits.is(check.limits);
            if !is_of_lease || held.lease.give_back(check.cost, let_in, now) {
                held.lease.reopen();
            }
        }
        is_leased
    }
}

/// The lease of a bucket, if it can have one, and the one that it has is not for other limits.
pub(super) fn held<'s>(
    shard: &'s mut Shard,
    hash: u64,
    check: &LimitCheck<'_>,
    now: Moment,
) -> Option<&'s mut Held> {
    if shard.len() >= MAX / SHARDS && !shard.contains_key(&hash) {
        return None;
    }
    let held = shard.entry(hash).or_insert_with(|| Held {
        subject: Subject::of(&check.subject),
        lease: Lease::new(check.limits.clone()),
    });
    if held.subject.borrowed() != check.subject {
        return None;
    }
    if !held.lease.limits.is(check.limits) {
        // Of another key of the same owner, or from before a change.
        if !held.lease.is_over(now) {
            return None;
        }
        held.lease = Lease::new(check.limits.clone());
    }
    Some(held)
}

/// A hash that is made already.
#[derive(Default)]
pub(super) struct Given(u64);

impl Hasher for Given {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called; any other key would still be found.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
