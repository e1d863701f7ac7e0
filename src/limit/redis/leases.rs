//! The leases of all buckets that a node serves, and the tasks that ask for them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use super::{
    buckets::{Ask, Buckets, Lent, nanos},
    lease::{Landed, Lease, Moment, batch},
};
use crate::{
    Bucket, Decision, KeyId, LimitCheck, OwnerId, observe,
    store::{DigestHash, StoreError},
};

/// How many buckets may have a lease. Each takes some 300 bytes, and all that are not in use are
/// forgotten; requests of more are decided one by one.
const MOST: usize = SHARDS * 4_096;
const SHARDS: usize = 256;

/// Leases of fewer requests are hardly better than none.
const LEAST: u64 = 8;

/// A bucket that nobody asked for this long is forgotten.
const IDLE: Duration = Duration::from_secs(10);

pub(super) struct Leases {
    time: Duration,
    /// What moments count from.
    started: Instant,
    by_line: DigestHash,
    by_owner: RandomState,
    shards: Box<[Mutex<Shard>]>,
    is_swept: AtomicBool,
    is_closed: AtomicBool,
}

/// By hash. Where two buckets have the same, the second has no lease.
type Shard = HashMap<u64, Held, BuildHasherDefault<Given>>;

struct Held {
    whose: Whose,
    lease: Lease,
}

#[derive(Clone)]
enum Whose {
    Line(KeyId),
    Owner(OwnerId),
}

impl Whose {
    fn of(bucket: &Bucket<'_>) -> Self {
        match bucket {
            Bucket::Line(id) => Self::Line(*id),
            Bucket::Owner(owner) => Self::Owner((*owner).clone()),
        }
    }

    #[inline]
    fn bucket(&self) -> Bucket<'_> {
        match self {
            Self::Line(id) => Bucket::Line(*id),
            Self::Owner(owner) => Bucket::Owner(owner),
        }
    }
}

/// What comes of asking for more.
pub(super) enum Joined {
    /// It was not necessary.
    Decided(Decision),
    /// It is on its way.
    Waiting(watch::Receiver<Landed>),
    /// Not for this request.
    NotLeased,
}

impl Leases {
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            started: Instant::now(),
            by_line: DigestHash::default(),
            by_owner: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            is_swept: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    #[inline]
    fn now(&self) -> Moment {
        nanos(self.started.elapsed())
    }

    #[inline]
    fn hash(&self, bucket: &Bucket<'_>) -> u64 {
        match bucket {
            Bucket::Line(id) => {
                let (start, end) = id.as_bytes().split_at(8);
                let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes);
                let mut hasher = self.by_line.build_hasher();
                hasher.write_u64(word(start).unwrap_or_default());
                hasher.write_u64(word(end).unwrap_or_default());
                hasher.finish()
            }
            Bucket::Owner(owner) => self.by_owner.hash_one(owner),
        }
    }

    /// No code that can panic runs under the lock, so a poisoned one still guards sound data.
    #[inline]
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // Of bits that the map does not use.
        let shard = (hash >> 32) as usize % self.shards.len();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what can be decided without asking.
    #[inline]
    pub(super) fn decide(&self, check: &LimitCheck<'_>) -> Option<Decision> {
        let (hash, now) = (self.hash(&check.bucket), self.now());
        let mut shard = self.shard(hash);
        let held = shard.get_mut(&hash)?;
        let is_this = held.whose.bucket() == check.bucket && held.lease.limits.is(check.limits);
        if is_this { held.lease.decide(check.cost, now) } else { None }
    }

    /// Whether all limits are so large that leases are worth it, and that what they keep back of a
    /// burst is not missed.
    fn is_leased(&self, check: &LimitCheck<'_>) -> bool {
        let time = nanos(self.time);
        check.limits.iter().all(|limit| {
            let (quota, room) = (limit.quota(), limit.quota().room());
            room / 2 >= time
                && quota.charge(check.cost) <= room - time
                && batch(quota, self.time) >= LEAST
        }) && !self.is_closed.load(Ordering::Relaxed)
    }

    /// Decides, or asks for more unless somebody does so already.
    pub(super) fn join(self: &Arc<Self>, buckets: &Buckets, check: &LimitCheck<'_>) -> Joined {
        let Ok(runtime) = Handle::try_current() else { return Joined::NotLeased };
        if !self.is_leased(check) {
            return Joined::NotLeased;
        }
        let (hash, now) = (self.hash(&check.bucket), self.now());
        let mut shard = self.shard(hash);
        let Some(held) = held(&mut shard, hash, check, now) else { return Joined::NotLeased };
        let lease = &mut held.lease;
        if let Some(decision) = lease.decide(check.cost, now) {
            return Joined::Decided(decision);
        }
        lease.wait(check.cost);
        if let Some(flight) = &lease.flight {
            return Joined::Waiting(flight.clone());
        }
        let (answer, waiter) = watch::channel(None);
        lease.flight = Some(waiter.clone());
        let ask = lease.ask(check.cost, now, self.time);
        let whose = held.whose.clone();
        drop(shard);
        self.sweep(&runtime, buckets);
        let landing = Landing { leases: self.clone(), hash, whose, answer };
        // In a task of its own: a caller who goes away takes nobody's requests along.
        let (buckets, key) = (buckets.clone(), buckets.key(&check.bucket));
        runtime.spawn(async move {
            let lent = buckets.lease(key, &ask).await;
            landing.land(lent, &ask, now);
        });
        Joined::Waiting(waiter)
    }

    /// Remembers that a request was denied that had asked for itself.
    pub(super) fn denied(&self, check: &LimitCheck<'_>, decision: &Decision) {
        let (hash, now) = (self.hash(&check.bucket), self.now());
        let mut shard = self.shard(hash);
        if let Some(held) = held(&mut shard, hash, check, now)
            && held.lease.is_over(now)
        {
            held.lease.denied(check.cost, decision, now, self.time);
        }
    }

    /// Takes back a request, if it was let in by a lease; otherwise the server has to.
    pub(super) fn give_back(&self, check: &LimitCheck<'_>) -> bool {
        let is_leased = self.is_leased(check);
        let (hash, now) = (self.hash(&check.bucket), self.now());
        let mut shard = self.shard(hash);
        if let Some(held) = shard.get_mut(&hash)
            && held.whose.bucket() == check.bucket
        {
            if is_leased && held.lease.limits.is(check.limits) {
                held.lease.give_back(check.cost, now);
            }
            held.lease.reopen();
        }
        is_leased
    }

    /// Asks for nothing any more, and gives back all there is.
    pub(super) async fn close(&self, buckets: &Buckets) {
        self.is_closed.store(true, Ordering::Relaxed);
        for shard in &self.shards {
            let flights: Vec<_> = {
                let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.values().filter_map(|held| held.lease.flight.clone()).collect()
            };
            for mut flight in flights {
                // An error says that it was given up, which is an end as well.
                let _ = flight.wait_for(Option::is_some).await;
            }
            self.clear(shard, Duration::ZERO, buckets).await;
        }
    }

    /// Gives back what was not used for so long, and forgets who has gone.
    async fn clear(&self, shard: &Mutex<Shard>, unused_for: Duration, buckets: &Buckets) {
        let now = self.now();
        let mut unused = Vec::new();
        shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, held| {
            let lease = &mut held.lease;
            if lease.is_idle(now, nanos(unused_for))
                && let Some(ask) = lease.take_unused(now)
            {
                unused.push((buckets.key(&held.whose.bucket()), ask));
            }
            !lease.is_idle(now, nanos(IDLE))
        });
        let mut returns = JoinSet::new();
        for (key, ask) in unused {
            let buckets = buckets.clone();
            returns.spawn(async move {
                if let Err(error) = buckets.lease(key, &ask).await {
                    observe::not_given_back(&error);
                }
            });
            if returns.len() >= 64 {
                returns.join_next().await;
            }
        }
        while returns.join_next().await.is_some() {}
    }

    /// Starts the task that gives back and forgets. It ends with the limiter.
    fn sweep(self: &Arc<Self>, runtime: &Handle, buckets: &Buckets) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let (sweeper, buckets) = (Sweeper(Arc::downgrade(self)), buckets.clone());
        let unused_for = self.time / 2;
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(unused_for).await;
                let Some(leases) = sweeper.0.upgrade() else { return };
                for shard in &leases.shards {
                    leases.clear(shard, unused_for, &buckets).await;
                }
            }
        });
    }
}

/// Whoever asks next starts another, if the task ends with its runtime.
struct Sweeper(Weak<Leases>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(leases) = self.0.upgrade() {
            leases.is_swept.store(false, Ordering::Relaxed);
        }
    }
}

/// The lease of a bucket, if it can have one, and the one that it has is not for other limits.
fn held<'s>(
    shard: &'s mut Shard,
    hash: u64,
    check: &LimitCheck<'_>,
    now: Moment,
) -> Option<&'s mut Held> {
    if shard.len() >= MOST / SHARDS && !shard.contains_key(&hash) {
        return None;
    }
    let held = shard.entry(hash).or_insert_with(|| Held {
        whose: Whose::of(&check.bucket),
        lease: Lease::new(check.limits.clone()),
    });
    if held.whose.bucket() != check.bucket {
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

/// Ends the wait for more, also when its task panics or its runtime is shut down.
struct Landing {
    leases: Arc<Leases>,
    hash: u64,
    whose: Whose,
    answer: watch::Sender<Landed>,
}

impl Landing {
    fn land(&self, lent: Result<Lent, StoreError>, ask: &Ask, asked: Moment) {
        let now = self.leases.now();
        let result = self.with(|lease| {
            let lent = lent.inspect_err(|_| lease.failed())?;
            lease.landed(&lent, ask, asked, now);
            Ok(())
        });
        self.answer.send_replace(result);
    }

    /// It is not forgotten before this has landed.
    fn with<T>(&self, f: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let mut shard = self.leases.shard(self.hash);
        let held = shard.get_mut(&self.hash)?;
        if held.whose.bucket() != self.whose.bucket() {
            return None;
        }
        held.lease.flight = None;
        Some(f(&mut held.lease))
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.answer.borrow().is_none() {
            self.with(|_| ());
            let gone = StoreError::unavailable("asking for a lease was given up");
            self.answer.send_replace(Some(Err(gone)));
        }
    }
}

/// A hash that is made already.
#[derive(Default)]
struct Given(u64);

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
