//! Threads check one limit in memory, each with a lease of its own: as much is let in as by one debt,
//! and nothing that was let in is forgotten.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::task::{JoinHandle, spawn, yield_now};

use crate::{
    clock::{Clock, Timestamp},
    key::KeyId,
    limit::{
        Limit, LimitCheck, LimitDecision, LimitSubject, Limits, LocalLimiter, Quota, RateLimiter,
    },
};

/// All is used up: not one request less is let in, and not one more.
pub(crate) fn admit_a_burst() {
    run(|node| (1..=3).map(|cost| node.use_up(cost)).collect());
}

/// A task gives back what it was let in for, and one has another quota for the same limit.
pub(crate) fn are_given_back_and_changed() {
    run(|node| vec![node.use_up(1), node.use_up(2), node.give_back(), node.use_changed()]);
}

/// Time passes, so that there is more than one time to be noted.
pub(crate) fn count_in_time() {
    run(|node| vec![node.check_at_times(1), node.check_at_times(2), node.pass_time()]);
}

/// A request comes back in a millisecond.
const BURST: u64 = 260;

/// Of the other quota, in two.
const CHANGED: u64 = 90;

#[derive(Clone)]
struct Node {
    limiter: LocalLimiter,
    clock: SteppedClock,
    own: Limits,
    changed: Limits,
    counted: Arc<Counted>,
}

/// In milliseconds of the debt.
#[derive(Default)]
struct Counted {
    /// What was let in, and what may just be.
    admitted: AtomicU64,
    under_way: AtomicU64,
    given_back: AtomicU64,
    /// When requests were let in: no earlier and no later, and at what cost.
    times: Mutex<Vec<[u64; 3]>>,
}

/// A clock that only the model moves on, and that no thread waits at.
#[derive(Clone, Default)]
struct SteppedClock(Arc<AtomicU64>);

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.millis().try_into().unwrap())
    }
}

impl SteppedClock {
    fn millis(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

fn run(begin: impl Fn(&Node) -> Vec<JoinHandle<()>> + 'static) {
    shuttle::future::block_on(async move {
        let node = Node::new();
        for task in begin(&node) {
            task.await.unwrap();
        }
        // Nothing is forgotten, and nothing else is counted.
        let debt = node.debt();
        let times = node.counted.times.lock().unwrap();
        let given_back = node.counted.given_back.load(SeqCst);
        let now = node.clock.millis();
        let [least, most] = [0, 1].map(|which| {
            let mut times: Vec<_> = times.iter().map(|time| (time[which], time[2])).collect();
            times.sort_unstable();
            let paid_at = times.iter().fold(0, |paid_at, (at, cost)| paid_at.max(*at) + cost);
            paid_at.saturating_sub(now)
        });
        let debt = debt + given_back;
        assert!(least <= debt && debt <= most, "{debt} is not within {least}..={most}");
        // In no stretch of time is more let in than the burst and what came back.
        let mut earliest = times.clone();
        earliest.sort_unstable();
        let mut paid_at = 0;
        for [at, _, cost] in earliest {
            paid_at = at.max(paid_at) + cost;
            assert!(paid_at - at <= BURST + given_back, "{} are owed at {at}", paid_at - at);
        }
    });
}

impl Node {
    fn new() -> Self {
        let clock = SteppedClock::default();
        let limits = |requests: u64, millis| {
            let requests = NonZeroU32::new(requests.try_into().unwrap()).unwrap();
            let quota = Quota::new(requests, Duration::from_millis(millis)).unwrap();
            Limits::new([Limit::new("limit", quota).unwrap()]).unwrap()
        };
        Self {
            limiter: LocalLimiter::builder().with_clock(clock.clone()).build(),
            clock,
            own: limits(BURST, BURST),
            changed: limits(CHANGED, 2 * CHANGED),
            counted: Arc::default(),
        }
    }

    fn check(limits: &Limits, cost: u32) -> LimitCheck<'_> {
        LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes([1; 16])), limits).with_cost(cost)
    }

    /// Whether a request is let in. If not, then as much is owed as may be.
    fn is_admitted(&self, limits: &Limits, cost: u32) -> bool {
        let quota = limits[0].quota();
        let charge = u64::from(cost) * u64::try_from(quota.interval().as_millis()).unwrap();
        let room = u64::from(quota.burst().get()) * charge / u64::from(cost);
        let counted = &self.counted;
        let (before, owed) = (self.clock.millis(), counted.admitted.load(SeqCst));
        counted.under_way.fetch_add(charge, SeqCst);
        let decision = self.limiter.check_now(&Self::check(limits, cost)).unwrap();
        let now = self.clock.millis();
        let is_admitted = matches!(decision, LimitDecision::Allow(_));
        if is_admitted {
            counted.admitted.fetch_add(charge, SeqCst);
            counted.times.lock().unwrap().push([before, now, charge]);
            let paid_off = now + counted.given_back.load(SeqCst);
            assert!(
                owed + charge <= room + paid_off,
                "{owed} were owed of {room}, and {charge} let in"
            );
        } else {
            // With this one, and with those of which it is not known yet.
            let owed = counted.admitted.load(SeqCst) + counted.under_way.load(SeqCst);
            assert!(owed > room, "{owed} of {room} were owed, and {charge} denied");
        }
        counted.under_way.fetch_sub(charge, SeqCst);
        is_admitted
    }

    fn use_up(&self, cost: u32) -> JoinHandle<()> {
        let node = self.clone();
        spawn(async move {
            while node.is_admitted(&node.own, cost) {}
            while node.is_admitted(&node.own, 1) {}
        })
    }

    fn use_changed(&self) -> JoinHandle<()> {
        let node = self.clone();
        spawn(async move {
            for _ in 0..12 {
                node.is_admitted(&node.changed, 1);
            }
        })
    }

    /// By requests that are then denied for another reason.
    fn give_back(&self) -> JoinHandle<()> {
        let node = self.clone();
        spawn(async move {
            for cost in 1..12 {
                if node.is_admitted(&node.own, cost) {
                    node.counted.given_back.fetch_add(cost.into(), SeqCst);
                    node.limiter.give_back(&Self::check(&node.own, cost), Duration::ZERO);
                }
            }
        })
    }

    fn check_at_times(&self, cost: u32) -> JoinHandle<()> {
        let node = self.clone();
        spawn(async move {
            for _ in 0..60 {
                node.is_admitted(&node.own, cost);
            }
        })
    }

    /// Ticks of some length, so that what a thread knows of is paid off, and what others owe is not.
    fn pass_time(&self) -> JoinHandle<()> {
        let node = self.clone();
        spawn(async move {
            for _ in 0..20 {
                node.clock.0.fetch_add(7, SeqCst);
                // Until another has let some in.
                for _ in 0..8 {
                    yield_now().await;
                }
            }
        })
    }

    /// All leases end for it.
    fn debt(&self) -> u64 {
        self.limiter.reclaim();
        let decision = self.limiter.check_now(&Self::check(&self.own, 1)).unwrap();
        let (owed, own) = match decision {
            LimitDecision::Allow(state) => (state.reset, 1),
            LimitDecision::Deny { state, .. } => (state.reset, 0),
        };
        u64::try_from(owed.as_millis()).unwrap() - own
    }
}
