//! Requests that were lent to a node, and let in by it from memory.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{sleep, timeout},
};
use tower_api_key::{
    OwnerId,
    limit::{LimitCheck, LimitDecision, LimitSubject, Quota, RateLimiter, RedisLimiter},
    nonzero,
};

use super::{
    Prefix, allowed, ask, denied, hourly, limits, lineage, remaining, scripts, server::OwnServer,
};
use crate::proxy::Proxy;

/// So many that a node takes them in batches, and so slow that none comes back during a test.
const MANY: Quota = Quota::per_hour(nonzero!(36_000));

/// As long as a lease can be: none ends during a test.
const LONG: Duration = Duration::from_mins(1);

/// How many requests nobody can have as long as leases are that long.
const KEPT_BACK: u32 = 600;

fn node(prefix: &Prefix) -> RedisLimiter {
    prefix.builder().with_lease_time(LONG).build().unwrap()
}

#[tokio::test]
async fn batches_grow_with_what_is_used() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let limiter = RedisLimiter::builder(&server.url()).with_lease_time(LONG).build().unwrap();
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let mut asked = Vec::new();
    for count in 1..=3_000 {
        if limiter.check_now(&check).is_none() {
            asked.push(count);
            allowed(limiter.check(&check).await.unwrap());
        }
    }
    // Eight times what was used of the last one when the next was asked for, which is before its end;
    // and a sixteenth of the burst at the most. No answer comes before this waits for one.
    assert_eq!(asked, [1, 2, 10, 66, 466, 2_716]);
    assert_eq!(scripts(&server.url()), 6 + 1, "and the text of the script once");
}

/// The next one is there by then.
#[tokio::test]
async fn no_request_waits_at_the_end_of_a_batch() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (node(&prefix), limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let (mut asked, mut idle) = (Vec::new(), usize::MAX);
    for count in 1..=10_000 {
        if limiter.check_now(&check).is_none() {
            asked.push(count);
            allowed(limiter.check(&check).await.unwrap());
            // The connection, and the task that gives back.
            yield_now().await;
            idle = tasks();
        }
        // The answer has come when the task has ended that waits for it.
        while tasks() > idle {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(asked, [1, 2], "then batches are worth it");
    // What was lent ahead is given back like the rest.
    let exact = prefix.node();
    limiter.close().await;
    let all = MANY.burst().get() - KEPT_BACK;
    let now = remaining(&exact, check.subject, &limits).await;
    assert!((all - 10_003..all - 10_000 + 1_000).contains(&now), "{now} of {all}");
}

/// While more is asked for, what is there goes on, and what was lent ahead is given back if it is not
/// used.
#[tokio::test]
async fn what_is_lent_ahead_is_given_back() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (node(&prefix), limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let exact = prefix.node();
    for _ in 0..8 {
        allowed(ask(&limiter, &check).await);
    }
    // 1 and 8 were lent, and then 56, of which none is used.
    let all = MANY.burst().get() - KEPT_BACK;
    let mut own = 0;
    let lent = async {
        while remaining(&exact, check.subject, &limits).await + own > all - 9 - 56 + 20 {
            own += 1;
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, lent).await.unwrap();
    allowed(limiter.check_now(&check).unwrap());
    limiter.close().await;
    let now = remaining(&exact, check.subject, &limits).await + own;
    // What comes back while a test runs is little.
    assert!((all - 12..all).contains(&now), "{now} of {all}");
}

#[tokio::test]
async fn a_lease_counts_for_all_nodes_and_what_is_left_is_given_back() {
    let Some(prefix) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let (lent, exact) = (node(&prefix), prefix.node());
    for _ in 0..10 {
        allowed(ask(&lent, &check).await);
    }
    let all = MANY.burst().get() - KEPT_BACK;
    // 1, 8 and 64 were lent. What comes back while a test runs is little.
    let now = remaining(&exact, check.subject, &limits).await;
    assert!((all - 73..all - 73 + 40).contains(&now), "{now} of {all}");
    lent.close().await;
    let now = remaining(&exact, check.subject, &limits).await;
    assert!((all - 12..all).contains(&now), "{now} of {all}");
    // Nothing is lent any more.
    for _ in 0..3 {
        assert_eq!(lent.check_now(&check), None);
        allowed(lent.check(&check).await.unwrap());
    }
    let now = remaining(&exact, check.subject, &limits).await;
    assert!((all - 16..all - 3).contains(&now), "{now} of {all}");
}

#[tokio::test]
async fn what_is_not_used_is_given_back_soon() {
    let Some(prefix) = Prefix::new() else { return };
    // A second for each: hardly any comes back in the time of a lease.
    let quota = Quota::per_hour(nonzero!(3_600));
    let (limits, lineage) = (limits([("hour", quota)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let lent = prefix.builder().with_lease_time(Duration::from_millis(200)).build().unwrap();
    let exact = prefix.node();
    let start = Instant::now();
    for _ in 0..10 {
        allowed(ask(&lent, &check).await);
    }
    let back = async {
        // 10 were used, and the test itself uses some.
        let mut own = 0;
        loop {
            let now = remaining(&exact, check.subject, &limits).await;
            own += 1;
            let came_back = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
            if now + own + 10 + 1 + 1 >= 3_600 && now + own <= 3_600 - 10 + 1 + came_back {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, back).await.unwrap();
}

#[tokio::test]
async fn a_lease_ends() {
    let Some(prefix) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let time = Duration::from_millis(10);
    let limiter = prefix.builder().with_lease_time(time).build().unwrap();
    for _ in 0..5 {
        allowed(ask(&limiter, &check).await);
    }
    sleep(time).await;
    assert_eq!(limiter.check_now(&check), None);
    allowed(ask(&limiter, &check).await);
}

#[tokio::test]
async fn what_is_denied_is_denied_from_memory() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let limiter = RedisLimiter::builder(&server.url()).leased().build().unwrap();
    // A sixteenth is ten, which is worth a lease.
    let quota = Quota::per_hour(nonzero!(160));
    let lineage = lineage();
    let both = limits([("wide", MANY), ("hour", quota)]);
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &both);
    let mut count = 0;
    while let LimitDecision::Allow(state) = ask(&limiter, &check).await {
        assert!(state.remaining < 160 - count);
        count += 1;
    }
    // All but what half a second takes of it, which is one.
    assert_eq!(count, 159);
    sleep(denied(ask(&limiter, &check).await).1).await;
    allowed(ask(&limiter, &check).await);
    let before = scripts(&server.url());
    let start = Instant::now();
    for _ in 0..1_000 {
        let (state, retry_after) = denied(ask(&limiter, &check).await);
        assert_eq!((state.limit, state.remaining), (1, 0));
        let least = quota.interval().saturating_sub(Duration::from_secs(1));
        assert!(retry_after + start.elapsed() >= least, "{retry_after:?}");
        assert!(retry_after <= quota.interval(), "{retry_after:?}");
    }
    // It asks again every half a second.
    let most = 1 + start.elapsed().as_millis() / 500;
    assert!(u128::from(scripts(&server.url()) - before) <= most);
}

/// For a few requests an hour, a batch would be most of the burst.
#[tokio::test]
async fn small_limits_are_not_leased_and_yet_denied_from_memory() {
    let Some(prefix) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", hourly(3))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let limiter = node(&prefix);
    for left in [2, 1, 0] {
        assert_eq!(limiter.check_now(&check), None);
        assert_eq!(allowed(limiter.check(&check).await.unwrap()).remaining, left);
    }
    let (_, first) = denied(ask(&limiter, &check).await);
    for _ in 0..3 {
        let (state, retry_after) = denied(limiter.check_now(&check).unwrap());
        assert_eq!((state.limit, state.remaining), (0, 0));
        assert!(retry_after <= first);
    }
    limiter.give_back(&check, Duration::ZERO);
    let again = async {
        while !matches!(prefix.node().check(&check).await.unwrap(), LimitDecision::Allow(_)) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, again).await.unwrap();
    assert_eq!(limiter.check_now(&check), None, "it has to ask anew");
}

#[tokio::test]
async fn a_cost_is_taken_whole_from_a_lease() {
    let Some(prefix) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", MANY), ("day", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let limiter = node(&prefix);
    for _ in 0..10 {
        allowed(ask(&limiter, &check).await);
    }
    let before = allowed(limiter.check_now(&check).unwrap()).remaining;
    let after = allowed(limiter.check_now(&check.with_cost(7)).unwrap()).remaining;
    assert_eq!(after, before - 7);
    limiter.give_back(&check.with_cost(7), Duration::ZERO);
    assert_eq!(allowed(limiter.check_now(&check).unwrap()).remaining, before - 1);
    // More than is left, and more than there ever is.
    allowed(ask(&limiter, &check.with_cost(1_000)).await);
    denied(ask(&limiter, &check.with_cost(36_001)).await);
    denied(ask(&limiter, &check.with_cost(35_999)).await);
    allowed(ask(&limiter, &check).await);
}

#[tokio::test]
async fn what_is_given_back_was_taken() {
    let Some(prefix) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let limiter = node(&prefix);
    for _ in 0..3 {
        allowed(ask(&limiter, &check).await);
    }
    // Two of eight are used.
    for _ in 0..10 {
        limiter.give_back(&check, Duration::ZERO);
    }
    for _ in 0..8 {
        allowed(limiter.check_now(&check).unwrap());
    }
    assert_eq!(limiter.check_now(&check), None);
}

#[tokio::test]
async fn keys_of_one_owner_with_other_limits_do_not_spend_each_others_leases() {
    let Some(prefix) = Prefix::new() else { return };
    let owner = OwnerId::from("anna");
    let (one, other) = (limits([("hour", MANY)]), limits([("day", MANY)]));
    let (one, other) = (
        LimitCheck::new(LimitSubject::Owner(&owner), &one),
        LimitCheck::new(LimitSubject::Owner(&owner), &other),
    );
    let limiter = node(&prefix);
    for _ in 0..3 {
        allowed(ask(&limiter, &one).await);
    }
    for left in (35_997..36_000).rev() {
        assert_eq!(limiter.check_now(&other), None);
        assert_eq!(allowed(limiter.check(&other).await.unwrap()).remaining, left);
    }
    // The same limits, from another record.
    let same = limits([("hour", MANY)]);
    allowed(limiter.check_now(&LimitCheck::new(LimitSubject::Owner(&owner), &same)).unwrap());
}

#[tokio::test]
async fn all_who_wait_share_one_lease() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let limiter = RedisLimiter::builder(&server.url()).with_lease_time(LONG);
    let limiter = limiter.connect().await.unwrap();
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let before = scripts(&server.url());
    for decision in join_all((0..100).map(|_| ask(&limiter, &check))).await {
        allowed(decision);
    }
    // One for whoever came first, with its text, and one for those who had come by then.
    assert_eq!(scripts(&server.url()) - before, 3);
}

#[tokio::test]
async fn callers_who_go_away_do_not_take_the_lease_along() {
    let Some(prefix) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let limiter = node(&prefix);
    let mut asked = limiter.check(&check);
    poll_fn(|context| {
        assert!(asked.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(asked);
    let landed = async {
        while limiter.check_now(&check).is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, landed).await.unwrap();
}

#[tokio::test]
async fn what_was_lent_outlives_an_outage() {
    let Some(prefix) = Prefix::new() else { return };
    let mut proxy = Proxy::before(&prefix.url);
    let limiter = RedisLimiter::builder(proxy.url()).with_prefix(&prefix.name);
    let limiter = limiter.with_lease_time(LONG).build().unwrap();
    let (limits, lineage) = (limits([("hour", MANY)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    for _ in 0..10 {
        allowed(ask(&limiter, &check).await);
    }
    proxy.cut().await;
    // 56 were lent, of which one is used; asking ahead fails meanwhile.
    for _ in 0..55 {
        allowed(limiter.check_now(&check).unwrap());
    }
    let results = join_all((0..10).map(|_| limiter.check(&check))).await;
    assert!(results.iter().all(Result::is_err));
    proxy.pass();
    allowed(ask(&limiter, &check).await);
}

/// On the thread that serves the request, nothing but a hash, a lock and a clock.
#[tokio::test]
async fn a_decision_from_memory_allocates_nothing() {
    let Some(prefix) = Prefix::new() else { return };
    let (many, few) = (limits([("hour", MANY), ("day", MANY)]), limits([("hour", hourly(1))]));
    let (lineage, owner) = (lineage(), OwnerId::from("somebody whose name is not a short one"));
    let limiter = node(&prefix);
    for subject in [LimitSubject::Lineage(lineage), LimitSubject::Owner(&owner)] {
        let check = LimitCheck::new(subject, &many);
        for _ in 0..10 {
            allowed(ask(&limiter, &check).await);
        }
        let mut decision = None;
        let measured = allocation_counter::measure(|| decision = limiter.check_now(&check));
        allowed(decision.unwrap());
        assert_eq!(measured.count_total, 0);
    }
    let check = LimitCheck::new(LimitSubject::Lineage(super::lineage()), &few);
    allowed(ask(&limiter, &check).await);
    denied(ask(&limiter, &check).await);
    let mut decision = None;
    let measured = allocation_counter::measure(|| decision = limiter.check_now(&check));
    denied(decision.unwrap());
    assert_eq!(measured.count_total, 0);
}
