//! What every request is told, one round trip each.

use std::{collections::HashSet, time::Duration};

use tokio::time::{sleep, timeout};
use tower_api_key::{
    ConfigError, OwnerId,
    limit::{LimitCheck, LimitSubject, Quota, RateLimiter, RedisLimiter},
    nonzero,
    store::StoreErrorKind,
};

use super::{
    Prefix, allowed, ask, denied, hourly, limits, lineage, remaining, run, server::wait_until,
};

#[tokio::test]
async fn a_burst_is_let_in_and_no_request_more() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (prefix.node(), limits([("hour", hourly(3))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    assert_eq!(limiter.check_now(&check), None, "only the server knows");
    for left in [2, 1, 0] {
        let state = allowed(ask(&limiter, &check).await);
        assert_eq!((state.limit, state.remaining), (0, left));
        let owed = Duration::from_hours(3 - u64::from(left));
        assert!(state.reset <= owed && state.reset + Duration::from_mins(5) > owed);
    }
    let (state, retry_after) = denied(ask(&limiter, &check).await);
    assert_eq!((state.limit, state.remaining), (0, 0));
    assert!(retry_after <= Duration::from_hours(1) && retry_after > Duration::from_mins(55));
}

#[tokio::test]
async fn all_limits_let_a_request_in_or_none_counts_it() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, lineage) = (prefix.node(), lineage());
    let both = limits([("wide", hourly(9)), ("narrow", hourly(2))]);
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &both);
    for left in [1, 0] {
        let state = allowed(ask(&limiter, &check).await);
        assert_eq!((state.limit, state.remaining), (1, left), "the nearest to exhaustion");
    }
    for _ in 0..3 {
        assert_eq!(denied(ask(&limiter, &check).await).0.limit, 1);
    }
    assert_eq!(remaining(&limiter, check.subject, &limits([("wide", hourly(9))])).await, 7);
}

#[tokio::test]
async fn a_cost_is_counted_whole() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (prefix.node(), limits([("hour", hourly(10))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    assert_eq!(allowed(ask(&limiter, &check.with_cost(7)).await).remaining, 3);
    let (state, retry_after) = denied(ask(&limiter, &check.with_cost(5)).await);
    assert_eq!(state.remaining, 3);
    assert!(retry_after > Duration::from_mins(115));
    assert_eq!(allowed(ask(&limiter, &check.with_cost(3)).await).remaining, 0);
}

#[tokio::test]
async fn a_cost_over_the_burst_is_let_in_when_nothing_is_owed() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (prefix.node(), limits([("hour", hourly(2))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let state = allowed(ask(&limiter, &check.with_cost(5)).await);
    assert_eq!(state.remaining, 0);
    // And paid off after.
    let (_, retry_after) = denied(ask(&limiter, &check).await);
    assert!(retry_after > Duration::from_mins(3 * 60 + 55));
    denied(ask(&limiter, &check.with_cost(5)).await);
}

#[tokio::test]
async fn what_is_given_back_is_there_again() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (prefix.node(), limits([("hour", hourly(5))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits).with_cost(5);
    allowed(ask(&limiter, &check).await);
    denied(ask(&limiter, &check).await);
    limiter.give_back(&check, Duration::ZERO);
    let again = async {
        while !matches!(ask(&limiter, &check).await, tower_api_key::limit::LimitDecision::Allow(_))
        {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_mins(1), again).await.unwrap();
    // Nothing can be owed less than nothing.
    let other = LimitCheck::new(LimitSubject::Lineage(self::lineage()), &limits);
    limiter.give_back(&other, Duration::ZERO);
    let before = limiter.check(&other.with_cost(5)).await.unwrap();
    allowed(before);
}

#[tokio::test]
async fn every_line_and_every_owner_has_a_bucket_of_its_own() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits) = (prefix.node(), limits([("hour", hourly(1))]));
    let owners = ["", "anna", "Anna", "an:na", "{anna}", "ännä\0\r\n", &"a".repeat(1_000)];
    let owners = owners.map(OwnerId::from);
    let lineages = [lineage(), lineage()];
    let buckets = owners.iter().map(LimitSubject::Owner).chain(lineages.map(LimitSubject::Lineage));
    let mut count = 0;
    for bucket in buckets {
        let check = LimitCheck::new(bucket, &limits);
        allowed(ask(&limiter, &check).await);
        denied(ask(&limiter, &check).await);
        count += 1;
    }
    let keys: HashSet<String> = prefix.keys().into_iter().collect();
    assert_eq!(keys.len(), count);
    let is_plain = |key: &String| key.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(keys.iter().all(is_plain), "{keys:?}");
}

#[tokio::test]
async fn a_limit_of_the_same_name_is_the_same_limit_after_its_quota_changed() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, owner) = (prefix.node(), OwnerId::from("anna"));
    let bucket = LimitSubject::Owner(&owner);
    let (before, after) = (limits([("hour", hourly(5))]), limits([("hour", hourly(8))]));
    for _ in 0..5 {
        allowed(ask(&limiter, &LimitCheck::new(bucket, &before)).await);
    }
    denied(ask(&limiter, &LimitCheck::new(bucket, &before)).await);
    assert_eq!(remaining(&limiter, bucket, &after).await, 3);
    let stricter = limits([("hour", hourly(1))]);
    let (_, retry_after) = denied(ask(&limiter, &LimitCheck::new(bucket, &stricter)).await);
    assert!(retry_after > Duration::from_mins(5 * 60 + 55), "six are owed, and one may be");
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_let_in() {
    let Some(prefix) = Prefix::new() else { return };
    let quota = Quota::per_second(nonzero!(100)).with_burst(nonzero!(2));
    let (limiter, limits, lineage) = (prefix.node(), limits([("second", quota)]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits).with_cost(2);
    allowed(ask(&limiter, &check).await);
    let mut waits = 0;
    while waits < 20 {
        // A machine that is slow enough denies nothing.
        if let tower_api_key::limit::LimitDecision::Deny { retry_after, .. } =
            ask(&limiter, &check).await
        {
            sleep(retry_after).await;
            allowed(ask(&limiter, &check).await);
        }
        waits += 1;
    }
}

#[tokio::test]
async fn a_bucket_is_gone_when_nothing_is_owed() {
    let Some(prefix) = Prefix::new() else { return };
    let limiter = prefix.node();
    let quick = limits([("quick", Quota::per_second(nonzero!(1_000)))]);
    allowed(ask(&limiter, &LimitCheck::new(LimitSubject::Lineage(lineage()), &quick)).await);
    wait_until(|| prefix.keys().is_empty());

    // But not sooner because of another limit of the same bucket.
    let (owner, slow) = (OwnerId::from("anna"), limits([("slow", hourly(2))]));
    allowed(ask(&limiter, &LimitCheck::new(LimitSubject::Owner(&owner), &slow)).await);
    allowed(ask(&limiter, &LimitCheck::new(LimitSubject::Owner(&owner), &quick)).await);
    let left: u64 = run(&mut prefix.connect(), &["PTTL", &prefix.keys()[0]]);
    assert!((55 * 60_000..=3_600_002).contains(&left), "{left}");
}

#[tokio::test]
async fn prefixes_have_counts_of_their_own() {
    let Some(prefix) = Prefix::new() else { return };
    let Some(other) = Prefix::new() else { return };
    let (limits, lineage) = (limits([("hour", hourly(1))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    allowed(ask(&prefix.node(), &check).await);
    denied(ask(&prefix.node(), &check).await);
    allowed(ask(&other.node(), &check).await);
    for bad in ["", "{a}", "a b", &"a".repeat(65)] {
        let error = prefix.builder().with_prefix(bad).build().unwrap_err();
        assert_eq!(error, ConfigError::RedisPrefix, "{bad}");
    }
    assert_eq!(RedisLimiter::new("http://:secret@host").unwrap_err(), ConfigError::RedisUrl);
    for url in ["redis://:secret@host", "http://:secret@host"] {
        let builder = format!("{:?}", RedisLimiter::builder(url));
        assert!(!builder.contains("secret") && !builder.contains("host"), "{builder}");
    }
    assert_eq!(format!("{:?}", other.node()), format!("RedisLimiter({})", other.name));
}

#[tokio::test]
async fn what_another_program_wrote_is_an_error() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (prefix.node(), limits([("hour", hourly(9))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    allowed(ask(&limiter, &check).await);
    let key = prefix.keys().remove(0);
    let _: () = run(&mut prefix.connect(), &["HSET", &key, "hour", "-1 x"]);
    let error = limiter.check(&check).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let _: () = run(&mut prefix.connect(), &["SET", &key, "something else"]);
    let error = limiter.check(&check).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
}
