//! Requests of several threads, whose turns the test decides, against debts that are counted one
//! after the other.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use proptest::prelude::*;

use super::LocalLimiter;
use crate::{
    clock::{Clock, SettableClock, Timestamp, nanos},
    key::{KeyId, Limit, Limits, Quota},
    limit::limiter::{LimitCheck, LimitDecision, LimitState, LimitSubject, RateLimiter},
    nonzero,
    runtime::act_as_thread,
};

const START: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

/// Debts as they are without leases.
#[derive(Default)]
struct Debts(HashMap<u8, u64>);

impl Debts {
    fn check(&mut self, subject: u8, limits: &Limits, cost: u32, now: u64) -> LimitDecision {
        let (quota, paid_at) = (limits[0].quota(), self.0.entry(subject).or_default());
        let owed = paid_at.saturating_sub(now);
        match quota.admit(owed, quota.charge(cost)) {
            Ok(after) => {
                *paid_at = now + after;
                LimitDecision::Allow(LimitState::new(limits, 0, after))
            }
            Err(wait) => LimitDecision::Deny {
                state: LimitState::new(limits, 0, owed),
                retry_after: Duration::from_nanos(wait),
            },
        }
    }

    fn give_back(&mut self, subject: u8, quota: Quota, cost: u32, after: u64, now: u64) {
        if let Some(paid_at) = self.0.get_mut(&subject) {
            let charge = quota.charge(cost).saturating_sub(after);
            *paid_at = paid_at.saturating_sub(charge).max(now);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Check { thread: usize, subject: u8, other_quota: bool, cost: u32, times: u32 },
    GiveBack { thread: usize, subject: u8, cost: u32, after: u64 },
    Wait { millis: u64 },
    Back { millis: u64 },
    Reclaim,
    Several { thread: usize, subject: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let check = (0..4_usize, 0..9_u8, 0..40_u8, 1..4_u32, 1..60_u32);
    let check = check.prop_map(|(thread, subject, other, cost, times)| Step::Check {
        thread,
        // Mostly the same one.
        subject: subject / 7,
        other_quota: other == 0,
        cost,
        times,
    });
    let give_back = (0..4_usize, 0..2_u8, 1..4_u32, 0..3_000_000_u64);
    let give_back = give_back.prop_map(|(thread, subject, cost, after)| Step::GiveBack {
        thread,
        subject,
        cost,
        after,
    });
    prop_oneof![
        40 => check,
        12 => (0..3_u64).prop_map(|millis| Step::Wait { millis }),
        6 => (0..400_u64).prop_map(|millis| Step::Wait { millis }),
        1 => (1..400_u64).prop_map(|millis| Step::Back { millis }),
        1 => give_back,
        1 => Just(Step::Reclaim),
        1 => (0..4_usize, 0..2_u8).prop_map(|(thread, subject)| Step::Several { thread, subject }),
    ]
}

fn quota(requests: u32, millis: u64, burst: u32) -> Quota {
    let number = |number| NonZeroU32::new(number).unwrap();
    let quota = Quota::new(number(requests), Duration::from_millis(millis)).unwrap();
    quota.with_burst(number(burst))
}

fn limits(quota: Quota) -> Limits {
    Limits::new([Limit::new("limit", quota).unwrap()]).unwrap()
}

fn subject(number: impl Into<u32>) -> LimitSubject<'static> {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&number.into().to_be_bytes());
    LimitSubject::Lineage(KeyId::from_bytes(id))
}

fn limiter() -> (LocalLimiter, SettableClock) {
    let clock = SettableClock::new(START);
    (LocalLimiter::builder().with_clock(clock.clone()).build(), clock)
}

/// How many leases there are, of all threads.
fn leases(limiter: &LocalLimiter) -> usize {
    limiter.0.buckets.leases()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every decision is the one without leases, whatever the clock does. A single thread does not even
    /// see that there are any: it is told the same of what is left.
    #[test]
    fn leases_change_no_decision(
        threads in 1..=4_usize,
        (requests, millis, burst) in (1..2_000_u32, 1..2_000_u64, 1..3_000_u32),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let (limiter, clock) = limiter();
        let (mut debts, mut days) = (Debts::default(), HashMap::<u8, u64>::new());
        let own = limits(quota(requests, millis, burst));
        let other = limits(quota(requests, millis, burst / 2 + 1));
        for step in steps {
            let now = limiter.0.now();
            match step {
                Step::Check { thread, subject: number, other_quota, cost, times } => {
                    act_as_thread(thread % threads);
                    let limits = if other_quota { &other } else { &own };
                    let check = LimitCheck::new(subject(number), limits).with_cost(cost);
                    for _ in 0..times {
                        let expected = debts.check(number, limits, cost, now);
                        let decision = limiter.check_now(&check).unwrap();
                        match (decision, expected) {
                            (LimitDecision::Allow(state), LimitDecision::Allow(expected)) if threads > 1 => {
                                // What others have used since is not known.
                                prop_assert!(state.remaining >= expected.remaining);
                                prop_assert!(state.reset <= expected.reset);
                            }
                            (decision, expected) => prop_assert_eq!(decision, expected),
                        }
                    }
                }
                Step::GiveBack { thread, subject: number, cost, after } => {
                    act_as_thread(thread % threads);
                    let check = LimitCheck::new(subject(number), &own).with_cost(cost);
                    limiter.give_back(&check, Duration::from_nanos(after));
                    debts.give_back(number, own[0].quota(), cost, after, now);
                }
                Step::Wait { millis } => {
                    clock.advance(Duration::from_millis(millis));
                }
                Step::Back { millis } => {
                    clock.set(clock.now().saturating_sub(Duration::from_millis(millis)));
                }
                Step::Reclaim => {
                    limiter.reclaim();
                    prop_assert_eq!(leases(&limiter), 0);
                    debts.0.retain(|_, paid_at| *paid_at > now);
                    // Beside those of another name.
                    days.retain(|_, paid_at| *paid_at > now);
                    prop_assert_eq!(limiter.len(), debts.0.len() + days.len());
                }
                Step::Several { thread, subject: number } => {
                    act_as_thread(thread % threads);
                    let day = Limit::new("day", Quota::per_day(nonzero!(1_000_000))).unwrap();
                    let several = Limits::new([own[0].clone(), day]).unwrap();
                    let check = LimitCheck::new(subject(number), &several);
                    let is_allowed = |decision| matches!(decision, LimitDecision::Allow(_));
                    let expected = debts.check(number, &own, 1, now);
                    let is_admitted = is_allowed(expected);
                    prop_assert_eq!(is_allowed(limiter.check_now(&check).unwrap()), is_admitted);
                    if is_admitted {
                        let paid_at = days.entry(number).or_insert(0);
                        *paid_at = now.max(*paid_at) + several[1].quota().charge(1);
                    }
                }
            }
        }
    }

    /// However threads take turns, a burst is let in, and not one request more.
    #[test]
    fn a_burst_is_let_in_once(
        threads in 1..=16_usize, burst in 1..30_000_u32,
        turns in prop::collection::vec((0..16_usize, 1..600_u32), 1..40),
    ) {
        let (limiter, _) = limiter();
        let limits = limits(Quota::per_hour(nonzero!(100)).with_burst(burst.try_into().unwrap()));
        let check = LimitCheck::new(subject(1_u32), &limits);
        let mut is_allowed =
            |_: &u32| matches!(limiter.check_now(&check), Some(LimitDecision::Allow(_)));
        let mut admitted = 0;
        for (thread, times) in turns.iter().cycle() {
            act_as_thread(thread % threads);
            let more = (0..*times).take_while(&mut is_allowed).count();
            admitted += more;
            if more < *times as usize {
                break;
            }
        }
        prop_assert_eq!(admitted, burst as usize);
    }

    /// In any stretch of time, by the times that the clock showed, no more is let in than the quota.
    #[test]
    fn a_clock_that_goes_back_lets_no_more_in(
        (requests, millis, burst) in (1..2_000_u32, 1..2_000_u64, 1..3_000_u32),
        steps in prop::collection::vec((0..4_usize, -50..60_i64, 1..200_u32), 1..80),
    ) {
        let (limiter, clock) = limiter();
        let quota = quota(requests, millis, burst);
        let limits = limits(quota);
        let check = LimitCheck::new(subject(1_u32), &limits);
        let mut admitted = Vec::new();
        for (thread, millis, times) in steps {
            act_as_thread(thread);
            let now = clock.now().as_unix_millis() + millis;
            clock.set(Timestamp::from_unix_millis(now));
            for _ in 0..times {
                if let Some(LimitDecision::Allow(_)) = limiter.check_now(&check) {
                    admitted.push(limiter.0.now());
                }
            }
        }
        admitted.sort_unstable();
        let mut paid_at = 0;
        for at in admitted {
            paid_at = at.max(paid_at) + quota.charge(1);
            prop_assert!(paid_at - at <= quota.room());
        }
    }
}

#[test]
fn a_key_that_comes_again_is_counted_by_its_thread() {
    let (limiter, clock) = limiter();
    let limits = limits(Quota::per_second(nonzero!(10_000)));
    let check = LimitCheck::new(subject(1_u32), &limits);
    for thread in 0..3 {
        act_as_thread(thread);
        for _ in 0..500 {
            assert!(matches!(limiter.check_now(&check), Some(LimitDecision::Allow(_))));
        }
        assert_eq!(leases(&limiter), thread + 1);
    }
    // Nothing is denied while another thread holds some.
    act_as_thread(0);
    let rest = check.with_cost(8_500);
    assert!(matches!(limiter.check_now(&rest), Some(LimitDecision::Allow(_))));
    assert_eq!(leases(&limiter), 0);
    assert!(matches!(limiter.check_now(&check), Some(LimitDecision::Deny { .. })));
    clock.advance(Duration::from_secs(2));
    limiter.reclaim();
    assert!(limiter.is_empty());
}

/// One bucket may have two quotas, as that of an owner whose keys differ. Plenty is left of the larger one, and the
/// smaller one is used up.
#[test]
fn what_a_thread_holds_of_another_quota_is_taken_back() {
    let (limiter, _) = limiter();
    let [small, large] = [415, 829].map(|burst| limits(quota(1_078, 80, burst)));
    let admitted = |thread, limits, cost, times: u32| {
        act_as_thread(thread);
        let check = LimitCheck::new(subject(1_u32), limits).with_cost(cost);
        let is_allowed =
            |_: &u32| matches!(limiter.check_now(&check), Some(LimitDecision::Allow(_)));
        (0..times).filter(is_allowed).count()
    };
    assert_eq!(admitted(0, &small, 1, 2), 2);
    assert_eq!(admitted(1, &small, 3, 29), 29);
    assert_eq!(leases(&limiter), 2);
    assert_eq!(admitted(1, &large, 3, 94), 94);
    let left = (415 - 2 - 3 * (29 + 94)) / 2;
    assert_eq!(admitted(0, &small, 2, 415), left);
}

#[test]
fn hardly_a_key_that_comes_once_takes_a_lease() {
    let (limiter, _) = limiter();
    let limits = limits(Quota::per_second(nonzero!(10_000)));
    act_as_thread(0);
    for number in 0..20_000_u32 {
        limiter.decide(&LimitCheck::new(subject(number), &limits));
    }
    assert!(leases(&limiter) < 20_000 / 25, "{} leases", leases(&limiter));
    // Those that come again take the places of one another.
    for number in 0..20_000_u32 {
        let check = LimitCheck::new(subject(number), &limits);
        (0..20).for_each(|_| _ = limiter.decide(&check));
    }
    assert!((1_200..=1_280).contains(&leases(&limiter)), "{} leases", leases(&limiter));
    for number in 0..20_000_u32 {
        let check = LimitCheck::new(subject(number), &limits);
        let LimitDecision::Allow(state) = limiter.decide(&check) else { panic!("plenty is left") };
        assert_eq!(state.remaining, 10_000 - 1 - 20 - 1);
        assert_eq!(nanos(state.reset), limits[0].quota().charge(22));
    }
}

/// A thousand keys in turn, by threads that take turns, with a tick of four milliseconds after so many
/// requests for each key and thread. Returns the part of requests that no lease has let in, in
/// thousandths.
fn shared_of_a_thousand(threads: u32, quota: Quota, in_a_tick: u32) -> u64 {
    let (limiter, clock) = limiter();
    let limits = limits(quota);
    let tick = || {
        for _ in 0..in_a_tick {
            for number in 0..1_000 {
                for thread in 0..threads {
                    act_as_thread(thread as usize);
                    let number = (number + 371 * thread) % 1_000;
                    let check = LimitCheck::new(subject(number), &limits);
                    assert!(matches!(limiter.decide(&check), LimitDecision::Allow(_)));
                }
            }
        }
        clock.advance(Duration::from_millis(4));
    };
    (0..10).for_each(|_| tick());
    let held = leases(&limiter);
    assert!(held >= 995 * threads as usize, "{held} leases of {threads} threads");
    let before = limiter.0.buckets.shared();
    (0..40).for_each(|_| tick());
    let shared = limiter.0.buckets.shared() - before;
    shared / u64::from(40 * in_a_tick * threads)
}

#[test]
fn a_thousand_keys_in_turn_are_counted_by_their_threads() {
    for (threads, requests, in_a_tick, most) in [
        (1, 1_000_000, 8, 10),
        (2, 1_000_000, 8, 10),
        (4, 1_000_000, 8, 10),
        // What others are lent lasts for longer than a tick, as long as it is not cut.
        (2, 10_000, 8, 60),
        (2, 10_000, 1, 60),
    ] {
        let quota = Quota::per_second(NonZeroU32::new(requests).unwrap());
        let shared = shared_of_a_thousand(threads, quota, in_a_tick);
        assert!(shared <= most, "{threads} threads, {requests} a second: {shared} of 1,000");
    }
}

/// Without the times at which requests were let in by leases, the second thread's would be charged
/// before that of the first.
#[test]
fn requests_are_charged_in_their_order_when_the_clock_goes_back() {
    let (limiter, clock) = limiter();
    let limits = limits(Quota::per_second(nonzero!(1_000)));
    let check = LimitCheck::new(subject(1_u32), &limits);
    let mut debts = Debts::default();
    let mut decide = |thread, at: i64| {
        act_as_thread(thread);
        clock.set(Timestamp::from_unix_millis(START.as_unix_millis() + at));
        let (now, charge) = (limiter.0.now(), 1_000_000);
        let expected = debts.check(1, &limits, 1, now);
        let LimitDecision::Allow(state) = limiter.decide(&check) else { panic!("plenty is left") };
        let LimitDecision::Allow(expected) = expected else { panic!("plenty is left") };
        (nanos(state.reset) / charge, nanos(expected.reset) / charge)
    };
    // Both threads take leases.
    for _ in 0..3 {
        decide(0, 0);
        decide(1, 0);
    }
    assert_eq!(decide(0, 100), (1, 1));
    // The first one's is due in 101 milliseconds, so this one is as well, and one after.
    assert_eq!(decide(1, 50), (52, 52));
    assert_eq!(decide(0, 60), (43, 43));
    limiter.reclaim();
    assert_eq!(decide(0, 99), (5, 5));
}
