//! The scripts' arithmetic is that of `Quota`, at times that the test says.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use redis::{Client, Connection, FromRedisValue, Script};

use super::buckets::{Ask, Lent, decision, give_back_args, lease_args, take_args};
use crate::{
    key::{KeyId, Limit, Limits, Quota},
    limit::limiter::{LimitCheck, LimitDecision, LimitState, LimitSubject},
    store::servers::{Server, unique_name},
};

/// In the place of `clock.lua`: the last argument is the time, and nothing is forgotten meanwhile.
const CLOCK: &str = "
local function clock() return tonumber(table.remove(ARGV)) end
local function forget() end
";

/// A bucket that only this test has.
struct Redis {
    connection: Connection,
    key: String,
}

impl Redis {
    fn new() -> Option<Self> {
        let url = Server::Redis.url()?;
        let connection = Client::open(url).and_then(|client| client.get_connection());
        let connection = connection.unwrap_or_else(|error| Server::Redis.missing(error));
        Some(Self { connection, key: unique_name() })
    }

    fn run<T: FromRedisValue>(&mut self, script: &str, args: &[String], now: u64) -> T {
        let text = [CLOCK, include_str!("bucket.lua"), script].concat();
        let script = Script::new(&text);
        let mut call = script.key(&*self.key);
        call.arg(args).arg(now).invoke(&mut self.connection).unwrap()
    }

    fn forget(&mut self) {
        let _: () = redis::cmd("DEL").arg(&*self.key).query(&mut self.connection).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The debt to each limit, and since when: the slow and obvious way.
#[derive(Default)]
struct Model(BTreeMap<String, (u64, u64)>);

impl Model {
    fn owed(&self, limit: &Limit, now: u64) -> u64 {
        let (owed, at) = self.0.get(limit.name()).copied().unwrap_or_default();
        owed.saturating_sub(now.saturating_sub(at).saturating_mul(1_000))
    }

    fn check(&mut self, check: &LimitCheck<'_>, now: u64) -> LimitDecision {
        let owed: Vec<u64> = check.limits.iter().map(|limit| self.owed(limit, now)).collect();
        let judge = |(limit, owed): (&Limit, &u64)| {
            limit.quota().admit(*owed, limit.quota().charge(check.cost))
        };
        let judged: Vec<_> = check.limits.iter().zip(&owed).map(judge).collect();
        let mut longest = None;
        for (place, judged) in judged.iter().enumerate() {
            if let Err(wait) = judged
                && longest.is_none_or(|(longest, _)| *wait > longest)
            {
                longest = Some((*wait, place));
            }
        }
        if let Some((wait, place)) = longest {
            let state = LimitState::new(check.limits, place, owed[place]);
            let retry_after = Duration::from_micros(wait.div_ceil(1_000));
            return LimitDecision::Deny { state, retry_after };
        }
        let after: Vec<u64> = judged.into_iter().map(Result::unwrap).collect();
        for (limit, owed) in check.limits.iter().zip(&after) {
            self.0.insert(limit.name().to_owned(), (*owed, now));
        }
        LimitDecision::Allow(LimitState::nearest(check.limits, after.into_iter()))
    }

    fn give_back(&mut self, check: &LimitCheck<'_>, now: u64) {
        for limit in check.limits {
            let owed = self.owed(limit, now).saturating_sub(limit.quota().charge(check.cost));
            self.0.insert(limit.name().to_owned(), (owed, now));
        }
    }
}

#[derive(Clone, Debug)]
struct Step {
    /// Which of the sets of limits.
    limits: usize,
    cost: u32,
    /// After how many microseconds.
    after: u64,
    is_given_back: bool,
}

/// Limits of every speed, from one that is done within a nanosecond to one that takes a month.
fn limits() -> impl Strategy<Value = Limits> {
    let number = || {
        prop_oneof![1_u32..10, 1_u32..10_000, Just(u32::MAX)]
            .prop_map(|number| NonZeroU32::new(number).unwrap())
    };
    let window =
        prop_oneof![1_u64..100, Just(1_000), Just(60_000), 1_u64..=31 * 24 * 3_600 * 1_000,];
    let quota = (number(), number(), window).prop_map(|(requests, burst, window)| {
        let window = Duration::from_millis(window);
        Quota::new(requests, window).unwrap().with_burst(burst)
    });
    // Some with the same names as those of another set.
    let quotas = prop::collection::vec(quota, 1..=3);
    (quotas, 0_usize..3).prop_map(|(quotas, first)| {
        let named = |(place, quota): (usize, Quota)| {
            Limit::new(&(first + place).to_string(), quota).unwrap()
        };
        Limits::new(quotas.into_iter().enumerate().map(named)).unwrap()
    })
}

fn step() -> impl Strategy<Value = Step> {
    let cost = prop_oneof![6 => Just(1_u32), 2 => 1_u32..20, 1 => Just(u32::MAX)];
    let after = prop_oneof![
        2 => Just(0_u64),
        4 => 0_u64..1_000,
        4 => 0_u64..1_000_000,
        1 => 0_u64..100_000_000_000,
    ];
    (0_usize..3, cost, after, prop::bool::weighted(0.1)).prop_map(
        |(limits, cost, after, is_given_back)| Step { limits, cost, after, is_given_back },
    )
}

#[test]
fn ten_thousand_random_steps_are_decided_as_in_memory() {
    let Some(mut redis) = Redis::new() else { return };
    let mut runner = TestRunner::new(Config::default());
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..100 {
        redis.forget();
        let mut model = Model::default();
        let sets = [(); 3].map(|()| limits().new_tree(&mut runner).unwrap().current());
        let mut now = 1_800_000_000_000_000;
        for _ in 0..100 {
            let step = step().new_tree(&mut runner).unwrap().current();
            now += step.after;
            let subject = LimitSubject::Lineage(KeyId::from_bytes([1; 16]));
            let check = LimitCheck::new(subject, &sets[step.limits]).with_cost(step.cost);
            if step.is_given_back {
                let args = give_back_args(&check, Duration::ZERO);
                redis.run::<String>(include_str!("give_back.lua"), &args, now);
                model.give_back(&check, now);
                continue;
            }
            let answer: Vec<u64> = redis.run(include_str!("take.lua"), &take_args(&check), now);
            let expected = model.check(&check, now);
            assert_eq!(decision(&check, &answer), Some(expected), "{step:?} {sets:?}");
            match expected {
                LimitDecision::Allow(_) => allowed += 1,
                LimitDecision::Deny { .. } => denied += 1,
            }
        }
    }
    // Neither is rare.
    assert!(allowed > 1_000 && denied > 1_000, "{allowed} allowed, {denied} denied");
}

/// An hour back, and no caller waits for an hour.
#[test]
fn a_clock_that_is_set_back_forgives_nothing_and_holds_nobody_up() {
    let Some(mut redis) = Redis::new() else { return };
    let quota = Quota::per_second(crate::nonzero!(2));
    let limits = Limits::new([Limit::new("second", quota).unwrap()]).unwrap();
    let check = LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes([1; 16])), &limits);
    let mut is_allowed = |now: u64| {
        let answer: Vec<u64> = redis.run(include_str!("take.lua"), &take_args(&check), now);
        answer[0] == 1
    };
    let late = 1_800_000_000_000_000;
    let early = late - 3_600_000_000;
    assert!(is_allowed(late) && is_allowed(late));
    assert!(!is_allowed(late) && !is_allowed(early));
    assert!(!is_allowed(early + 499_999) && is_allowed(early + 500_000));
}

/// The requests that a node holds, in the test of leases.
struct Held {
    left: u32,
    since: u64,
    ends: u64,
    time: Duration,
}

/// A quota, and how long a lease of it is, of which a burst is ten at the least.
fn leased() -> impl Strategy<Value = (Quota, Duration)> {
    let number =
        |range: std::ops::Range<u32>| range.prop_map(|number| NonZeroU32::new(number).unwrap());
    let quota = (number(1_u32..2_000), number(2_u32..2_000), 100_u64..10_000);
    (quota, 1_u64..=100).prop_map(|((requests, burst, window), percent)| {
        let quota = Quota::new(requests, Duration::from_millis(window)).unwrap().with_burst(burst);
        let time = Duration::from_nanos(quota.room() * percent / 100).max(Duration::from_micros(1));
        (quota, time)
    })
}

/// Nodes that do the worst they may: some hold what they have until it ends, some give back and ask
/// anew, some are not leased at all and take requests back that they have let in, and leases are of
/// several lengths. At times that the test says.
#[test]
fn no_window_has_more_than_the_quota_however_leases_are_spent() {
    let Some(mut redis) = Redis::new() else { return };
    let mut runner = TestRunner::new(Config::default());
    let mut random = |range: std::ops::Range<u64>| range.new_tree(&mut runner).unwrap().current();
    let mut trees = TestRunner::new(Config::default());
    let (mut fullest, mut given_back) = (0, 0);
    for _ in 0..150 {
        redis.forget();
        let (quota, time) = leased().new_tree(&mut trees).unwrap().current();
        let limits = Limits::new([Limit::new("limit", quota).unwrap()]).unwrap();
        let check = LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes([1; 16])), &limits);
        let (mut held, mut spent) = (Vec::<Held>::new(), Vec::<(u64, u64)>::new());
        // Of what is spent, the places of what a node has let in that is not leased.
        let mut taken = Vec::<usize>::new();
        let start = 1_800_000_000_000_000;
        let mut now = start;
        let step = u64::try_from(time.as_micros()).unwrap() / 4 + 2;
        for _ in 0..100 {
            now += random(0..step);
            // At the last moment.
            for lease in held.extract_if(.., |lease| lease.ends < now) {
                if random(0..2) == 0 {
                    spent.push((lease.ends, lease.left.into()));
                }
            }
            match random(0..10) {
                0..4 => {
                    // Some leases are shorter than others, some are given back for nothing new.
                    let time = if random(0..3) == 0 { time / 2 } else { time };
                    let last = (!held.is_empty() && random(0..2) == 0).then(|| {
                        let place = random(0..held.len() as u64);
                        held.swap_remove(usize::try_from(place).unwrap())
                    });
                    let is_return = last.is_some() && random(0..2) == 0;
                    let some = u32::try_from(random(1..2_000)).unwrap();
                    let (need, want) = if is_return { (u32::MAX, 0) } else { (1, some) };
                    let (unused, since, last) =
                        last.map_or((0, 0, time), |last| (last.left, last.since, last.time));
                    given_back += u64::from(unused);
                    let ask = Ask { limits: limits.clone(), time, need, want, unused, since, last };
                    let script = include_str!("lease.lua");
                    let answer: Vec<u64> = redis.run(script, &lease_args(&ask), now);
                    let lent = Lent::from_answer(&answer, &ask).unwrap();
                    assert_eq!(lent.since, now);
                    let ends = now + u64::try_from(time.as_micros()).unwrap();
                    held.push(Held { left: lent.requests, since: now, ends, time });
                }
                4..6 => {
                    // One, or all that there are.
                    let mut take = |cost| {
                        let check = check.with_cost(cost);
                        let args = take_args(&check);
                        let answer: Vec<u64> = redis.run(include_str!("take.lua"), &args, now);
                        decision(&check, &answer).unwrap()
                    };
                    if let LimitDecision::Allow(state) = take(1) {
                        taken.push(spent.len());
                        spent.push((now, 1));
                        if state.remaining > 0 && random(0..2) == 0 {
                            assert!(matches!(take(state.remaining), LimitDecision::Allow(_)));
                            taken.push(spent.len());
                            spent.push((now, state.remaining.into()));
                        }
                    }
                }
                8 if !taken.is_empty() => {
                    let place = random(0..taken.len() as u64);
                    let (at, cost) = &mut spent[taken.swap_remove(usize::try_from(place).unwrap())];
                    let check = check.with_cost(u32::try_from(*cost).unwrap());
                    let args = give_back_args(&check, Duration::from_micros(now - *at));
                    redis.run::<String>(include_str!("give_back.lua"), &args, now);
                    *cost = 0;
                }
                6..8 if !held.is_empty() => {
                    let place = random(0..held.len() as u64);
                    let lease = &mut held[usize::try_from(place).unwrap()];
                    let some = random(0..u64::from(lease.left) * 2 + 1);
                    let some = lease.left.min(u32::try_from(some).unwrap());
                    lease.left -= some;
                    spent.push((now, some.into()));
                }
                _ => {}
            }
        }
        spent.extend(held.iter().map(|lease| (lease.ends, u64::from(lease.left))));
        spent.sort_unstable();
        for (place, (first, _)) in spent.iter().enumerate() {
            let mut count = 0;
            for (last, some) in &spent[place..] {
                count += some;
                let most = quota.most_within(Duration::from_micros(last - first));
                assert!(count <= most, "{count} of {most} in {}, {quota:?}", last - first);
                fullest = fullest.max(count * 100 / most);
            }
        }
    }
    assert!(given_back > 0 && fullest >= 90, "{given_back} given back, {fullest} % at the fullest");
}

/// A node that takes, and returns when most has melted, must not have melted what others owe.
#[test]
fn what_is_given_back_late_has_melted_in_part() {
    let Some(mut redis) = Redis::new() else { return };
    let quota = Quota::per_second(crate::nonzero!(1_000));
    let limits = Limits::new([Limit::new("second", quota).unwrap()]).unwrap();
    let time = Duration::from_millis(250);
    let start = 1_800_000_000_000_000;
    let mut lease = |millis: u64, need, want, last: Option<&Lent>| {
        let (unused, since) = last.map_or((0, 0), |last| (last.requests, last.since));
        let ask = Ask { limits: limits.clone(), time, need, want, unused, since, last: time };
        let now = start + millis * 1_000;
        let answer: Vec<u64> = redis.run(include_str!("lease.lua"), &lease_args(&ask), now);
        Lent::from_answer(&answer, &ask).unwrap()
    };
    let millis = |millis: u64| vec![millis * 1_000_000];
    let one = lease(0, 1, 300, None);
    assert_eq!((one.requests, &one.owed), (300, &millis(250 + 300)));
    let other = lease(125, 1, 300, None);
    assert_eq!((other.requests, &other.owed), (300, &millis(250 + 300 - 125 + 300)));
    let back = lease(225, u32::MAX, 0, Some(&one));
    assert_eq!((back.requests, &back.owed), (0, &millis(250 + 300 - 225 + 300 - (300 - 225))));

    // The other one is used at its end, and at the same time all that there is besides.
    let check = LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes([1; 16])), &limits);
    let mut is_allowed = |cost| {
        let args = take_args(&check.with_cost(cost));
        let answer: Vec<u64> = redis.run(include_str!("take.lua"), &args, start + 375_000);
        answer[0] == 1
    };
    assert!(is_allowed(600) && !is_allowed(1));
    assert!(600 + other.requests <= quota.burst().get());
}

/// A longer lease that is taken while a shorter one is out relies on a debt that is partly the shorter
/// one's. That part is not given back.
#[test]
fn what_a_shorter_lease_gives_back_is_not_what_a_longer_one_counts_on() {
    let Some(mut redis) = Redis::new() else { return };
    let quota = Quota::per_second(crate::nonzero!(1_000));
    let limits = Limits::new([Limit::new("second", quota).unwrap()]).unwrap();
    let start = 1_800_000_000_000_000;
    let (short, long) = (Duration::from_millis(100), Duration::from_millis(400));
    let mut lease = |time, need, want, unused, last| {
        let since = start;
        let ask = Ask { limits: limits.clone(), time, need, want, unused, since, last };
        let script = include_str!("lease.lua");
        let answer: Vec<u64> = redis.run(script, &lease_args(&ask), start);
        Lent::from_answer(&answer, &ask).unwrap().requests
    };
    assert_eq!(lease(short, 1, 300, 0, short), 300);
    assert_eq!(lease(long, 1, 300, 0, long), 300);
    assert_eq!(lease(short, u32::MAX, 0, 300, short), 0);

    // The longer one is used at its end, and at the same time all that there is besides.
    let check = LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes([1; 16])), &limits);
    let mut is_allowed = |cost| {
        let args = take_args(&check.with_cost(cost));
        let answer: Vec<u64> = redis.run(include_str!("take.lua"), &args, start + 400_000);
        answer[0] == 1
    };
    assert!(!is_allowed(701) && is_allowed(700));
}
