//! `LocalLimiter`: counts in the memory of the process.

use std::{sync::Barrier, time::Duration};

use proptest::prelude::*;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    clock::SettableClock,
    limit::{
        Limit, LimitCheck, LimitDecision, LimitSubject, Limits, LocalLimiter, Quota, RateLimiter,
    },
    nonzero,
};

const START: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

fn lineage(number: u32) -> LimitSubject<'static> {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&number.to_be_bytes());
    LimitSubject::Lineage(KeyId::from_bytes(id))
}

fn limits(quotas: &[Quota]) -> Limits {
    let named = |(place, quota): (usize, &Quota)| Limit::new(&format!("limit-{place}"), *quota);
    Limits::new(quotas.iter().enumerate().map(named).collect::<Result<Vec<_>, _>>().unwrap())
        .unwrap()
}

fn limiter() -> (LocalLimiter, SettableClock) {
    let clock = SettableClock::new(START);
    (LocalLimiter::builder().with_clock(clock.clone()).build(), clock)
}

fn is_allowed(limiter: &LocalLimiter, check: &LimitCheck<'_>) -> bool {
    matches!(limiter.check_now(check), Some(LimitDecision::Allow(_)))
}

/// What the generic cell rate algorithm means, word for word and slowly: a request conforms if in
/// every stretch of time that ends with it no more was let in than the burst and what came back.
#[derive(Default)]
struct Model {
    /// When what was let in, in nanoseconds.
    admitted: Vec<(u128, u128)>,
}

impl Model {
    fn excess(&self, quota: Quota, now: u128, cost: u32) -> u128 {
        let interval = quota.interval().as_nanos();
        let charge = u128::from(cost) * interval;
        let room = (u128::from(quota.burst().get()) * interval).max(charge);
        let mut sum = charge;
        let mut worst = sum.saturating_sub(room);
        for (at, cost) in self.admitted.iter().rev() {
            sum += cost * interval;
            worst = worst.max(sum.saturating_sub(room + (now - at)));
        }
        worst
    }
}

fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let quota = (1..50_u32, 1..5_000_u64, 1..20_u32).prop_map(|(requests, millis, burst)| {
        let window = Duration::from_millis(millis);
        let requests = requests.try_into().unwrap();
        Quota::new(requests, window).unwrap().with_burst(burst.try_into().unwrap())
    });
    prop::collection::vec(quota, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn it_decides_like_the_definition(
        quotas in quotas(),
        arrivals in prop::collection::vec((0..400_u64, 1..6_u32), 1..120),
    ) {
        let (limiter, clock) = limiter();
        let limits = limits(&quotas);
        let mut models: Vec<Model> = quotas.iter().map(|_| Model::default()).collect();
        let mut now = 0;
        for (wait, cost) in arrivals {
            clock.advance(Duration::from_millis(wait));
            now += u128::from(wait) * 1_000_000;
            let check = LimitCheck::new(lineage(1), &limits).with_cost(cost);
            let excess = models.iter().zip(&quotas).map(|(model, quota)| model.excess(*quota, now, cost));
            let excess = excess.max().unwrap();
            match limiter.check_now(&check).unwrap() {
                LimitDecision::Allow(state) => {
                    prop_assert_eq!(excess, 0);
                    for model in &mut models {
                        model.admitted.push((now, cost.into()));
                    }
                    // So many more are let in at once, and not one more than that.
                    let quota = quotas[state.limit];
                    let more = u128::from(state.remaining);
                    let model = &models[state.limit];
                    let fits = |cost: u128| cost == 0
                        || model.excess(quota, now, u32::try_from(cost).unwrap()) == 0;
                    prop_assert!(fits(more) && (!fits(more + 1) || more + 1 > u128::from(quota.burst().get())));
                }
                LimitDecision::Deny { retry_after, .. } => {
                    prop_assert!(excess > 0);
                    prop_assert_eq!(retry_after.as_nanos(), excess);
                }
            }
        }
    }

    /// Whatever was asked before, whoever waits as long as told is let in.
    #[test]
    fn waiting_as_long_as_told_is_enough(
        quotas in quotas(), arrivals in prop::collection::vec((0..40_u64, 1..6_u32), 1..80),
    ) {
        let (limiter, clock) = limiter();
        let limits = limits(&quotas);
        for (wait, cost) in arrivals {
            clock.advance(Duration::from_millis(wait));
            let check = LimitCheck::new(lineage(1), &limits).with_cost(cost);
            if let Some(LimitDecision::Deny { retry_after, .. }) = limiter.check_now(&check) {
                // The clock counts milliseconds.
                let millis = u64::try_from(retry_after.as_nanos().div_ceil(1_000_000)).unwrap();
                clock.advance(Duration::from_millis(millis));
                prop_assert!(is_allowed(&limiter, &check));
            }
        }
    }
}

#[test]
fn one_limit_denies_and_no_other_counts() {
    let (limiter, clock) = limiter();
    let quotas = [Quota::per_second(nonzero!(2)), Quota::per_day(nonzero!(100))];
    let limits = limits(&quotas);
    let check = LimitCheck::new(lineage(1), &limits);
    let daily = Limits::new([limits[1].clone()]).unwrap();
    for _ in 0..50 {
        // Two are let in, three are not, and the day counts two.
        let allowed = (0..5).filter(|_| is_allowed(&limiter, &check)).count();
        assert_eq!(allowed, 2);
        clock.advance(Duration::from_secs(1));
    }
    let Some(LimitDecision::Deny { state, .. }) = limiter.check_now(&check) else {
        panic!("a hundred were let in, and none came back")
    };
    assert_eq!(limits[state.limit].name(), "limit-1");
    assert!(!is_allowed(&limiter, &LimitCheck::new(lineage(1), &daily)));
}

#[test]
fn subjects_are_told_apart() {
    let (limiter, _) = limiter();
    let limits = limits(&[Quota::per_hour(nonzero!(1))]);
    let (anna, bert) = (OwnerId::new("anna"), OwnerId::new("bert"));
    for subject in [lineage(1), lineage(2), LimitSubject::Owner(&anna), LimitSubject::Owner(&bert)]
    {
        let check = LimitCheck::new(subject, &limits);
        assert!(is_allowed(&limiter, &check), "{subject:?}");
        assert!(!is_allowed(&limiter, &check), "{subject:?}");
    }
}

#[test]
fn a_changed_quota_keeps_what_was_used() {
    let (limiter, _) = limiter();
    let before = limits(&[Quota::per_hour(nonzero!(4))]);
    for _ in 0..4 {
        assert!(is_allowed(&limiter, &LimitCheck::new(lineage(1), &before)));
    }
    let after = limits(&[Quota::per_hour(nonzero!(8)).with_burst(nonzero!(9))]);
    let check = LimitCheck::new(lineage(1), &after);
    assert!(is_allowed(&limiter, &check));
    assert!(!is_allowed(&limiter, &check));
}

#[test]
fn what_is_given_back_can_be_used_again() {
    let (limiter, clock) = limiter();
    let limits = limits(&[Quota::per_hour(nonzero!(3)), Quota::per_day(nonzero!(3))]);
    let check = LimitCheck::new(lineage(1), &limits).with_cost(3);
    assert!(is_allowed(&limiter, &check));
    limiter.give_back(&check.with_cost(2), Duration::ZERO);
    assert!(is_allowed(&limiter, &check.with_cost(2)));
    assert!(!is_allowed(&limiter, &check.with_cost(1)));
    // Never more than there was.
    clock.advance(Duration::from_hours(24));
    limiter.give_back(&check, Duration::ZERO);
    assert!(is_allowed(&limiter, &check));
    assert!(!is_allowed(&limiter, &check.with_cost(1)));
}

/// Otherwise a request that waits elsewhere for long, and is denied then, would leave more behind than
/// it took.
#[test]
fn what_has_come_back_by_itself_is_not_given_back() {
    let (limiter, clock) = limiter();
    let limits = limits(&[Quota::per_second(nonzero!(1)).with_burst(nonzero!(4))]);
    let check = LimitCheck::new(lineage(1), &limits);
    assert!(is_allowed(&limiter, &check.with_cost(2)));
    clock.advance(Duration::from_secs(2));
    assert!(is_allowed(&limiter, &check.with_cost(4)));
    limiter.give_back(&check.with_cost(2), Duration::from_secs(2));
    assert!(!is_allowed(&limiter, &check), "four in a moment, as ever");
    // Half of it has.
    clock.advance(Duration::from_secs(4));
    assert!(is_allowed(&limiter, &check.with_cost(2)));
    clock.advance(Duration::from_secs(1));
    limiter.give_back(&check.with_cost(2), Duration::from_secs(1));
    assert!(is_allowed(&limiter, &check.with_cost(4)));
    assert!(!is_allowed(&limiter, &check));
}

/// Threads that ask at once get the burst between them: not one more, not one less, and of no
/// limit.
#[test]
fn threads_share_exactly_the_burst() {
    const THREADS: usize = 4;
    let (limiter, _) = limiter();
    let limits = limits(&[Quota::per_hour(nonzero!(1_000)), Quota::per_day(nonzero!(1_200))]);
    let start = Barrier::new(THREADS);
    let allowed = |_| {
        let check = LimitCheck::new(lineage(1), &limits);
        start.wait();
        (0..1_000).filter(|_| is_allowed(&limiter, &check)).count()
    };
    let allowed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || allowed(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 1_000);
    let daily = Limits::new([limits[1].clone()]).unwrap();
    let left = LimitCheck::new(lineage(1), &daily);
    assert_eq!((0..1_000).filter(|_| is_allowed(&limiter, &left)).count(), 200);
}

/// The same where threads hold leases of a single limit, in one burst and while some comes back. Each
/// asks as often as it likes: what is let in is what the debt admits.
#[test]
fn threads_with_leases_share_exactly_the_burst() {
    const THREADS: usize = 16;
    const BURST: u32 = 40_000;
    let (limiter, clock) = limiter();
    let quota = Quota::per_hour(nonzero!(3_600_000)).with_burst(nonzero!(BURST));
    let limits = limits(&[quota]);
    let start = Barrier::new(THREADS + 1);
    let check = LimitCheck::new(lineage(1), &limits);
    let allowed = |_| {
        start.wait();
        let allowed = (0..BURST / 4).filter(|_| is_allowed(&limiter, &check)).count();
        start.wait();
        allowed
    };
    let sums = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| (0..3).map(allowed).collect::<Vec<_>>())).collect();
        for round in 0..3 {
            start.wait();
            start.wait();
            // One comes back in a millisecond.
            clock.advance(Duration::from_secs(1 + 4 * round));
        }
        let sums = threads.into_iter().map(|thread| thread.join().unwrap());
        sums.reduce(|sums, more| sums.iter().zip(&more).map(|(sum, more)| sum + more).collect())
    });
    assert_eq!(sums.unwrap(), [BURST as usize, 1_000, 5_000]);
}

#[test]
fn entries_that_owe_nothing_are_removed() {
    let (limiter, clock) = limiter();
    let limits = limits(&[Quota::per_minute(nonzero!(60))]);
    for number in 0..100_000 {
        assert!(is_allowed(&limiter, &LimitCheck::new(lineage(number), &limits)));
    }
    assert_eq!(limiter.len(), 100_000);
    // One second pays for one request.
    clock.advance(Duration::from_secs(1));
    let busy = LimitCheck::new(lineage(1), &limits).with_cost(2);
    assert!(is_allowed(&limiter, &busy));
    limiter.reclaim();
    assert_eq!(limiter.len(), 1);
    clock.advance(Duration::from_secs(2));
    limiter.reclaim();
    assert!(limiter.is_empty());
}

/// Also without a task: those who come later remove what they find.
#[test]
fn new_entries_make_room_for_themselves() {
    let (limiter, clock) = limiter();
    let limits = limits(&[Quota::per_second(nonzero!(1))]);
    for number in 0..1_000_000 {
        assert!(is_allowed(&limiter, &LimitCheck::new(lineage(number), &limits)));
        if number % 1_000 == 0 {
            clock.advance(Duration::from_secs(1));
        }
    }
    assert!(limiter.len() < 20_000, "{} entries", limiter.len());
}

#[tokio::test(start_paused = true)]
async fn a_task_removes_them_by_itself() {
    let quotas = [Quota::per_second(nonzero!(1)), Quota::per_second(nonzero!(2))];
    for quotas in [&quotas[..1], &quotas] {
        let (limiter, clock) = limiter();
        let limits = limits(quotas);
        for _ in 0..2 {
            assert!(is_allowed(&limiter, &LimitCheck::new(lineage(1), &limits)));
            assert_eq!(limiter.len(), quotas.len());
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert!(limiter.is_empty());
        }
    }
}

#[test]
fn with_too_many_entries_those_that_owe_the_least_are_forgotten() {
    let clock = SettableClock::new(START);
    let limiter = LocalLimiter::builder().with_capacity(6_400).with_clock(clock).build();
    let limits = limits(&[Quota::per_hour(nonzero!(100))]);
    let heavy = LimitCheck::new(lineage(u32::MAX), &limits).with_cost(100);
    assert!(is_allowed(&limiter, &heavy));
    for number in 0..100_000 {
        assert!(is_allowed(&limiter, &LimitCheck::new(lineage(number), &limits)));
        assert!(limiter.len() <= 6_400);
    }
    assert!(!is_allowed(&limiter, &heavy.with_cost(1)), "it owes the most");
}
