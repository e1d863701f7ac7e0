//! Which limits a key has, and what they count.

use tower_api_key::{
    KeyManager, NewKey, RateLimits, RejectionKind,
    limit::{LocalLimiter, Quota, Tiers},
    manage::RotationGrace,
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use super::{limited, limits, seconds};
use crate::support::{KEY, OTHER_KEY, at, clock, record_with, request_to, send, with_key};

/// How many of ten requests with this key are let in.
fn admitted(layer: &tower_api_key::ApiKeyLayer, key: &str) -> usize {
    let outcomes = (0..10).map(|_| send(layer, with_key(key)).outcome());
    let outcomes: Vec<_> = outcomes.collect();
    let admitted = outcomes.iter().filter(|outcome| *outcome == "admitted").count();
    assert!(outcomes[admitted..].iter().all(|outcome| outcome == "rate_limited"), "{outcomes:?}");
    admitted
}

#[tokio::test]
async fn a_keys_own_limits_come_before_those_of_its_tier() {
    let minute = |requests| limits(Quota::per_minute(requests));
    let tiers = Tiers::new()
        .with_tier("basic", minute(nonzero!(3)))
        .with_tier("pro", minute(nonzero!(5)))
        .with_default(minute(nonzero!(2)));
    assert!(tiers.names().eq(["basic", "pro"]));
    for (tier, own, expected) in [
        (None, None, 2),
        (Some("basic"), None, 3),
        (Some("pro"), None, 5),
        (Some("unheard of"), None, 2),
        (None, Some(minute(nonzero!(7))), 7),
        (Some("basic"), Some(minute(nonzero!(7))), 7),
    ] {
        let (layer, ..) = limited(
            |rate| rate.with_tiers(tiers.clone()),
            |record| {
                record.details.tier = tier.map(Into::into);
                record.details.limits = own.clone().unwrap_or_default();
            },
        )
        .await;
        assert_eq!(admitted(&layer, KEY), expected, "{tier:?} {own:?}");
    }
}

#[tokio::test]
async fn without_limits_nothing_is_counted() {
    let (layer, ..) = limited(|rate| rate, |_| {}).await;
    assert_eq!(admitted(&layer, KEY), 10);
}

#[tokio::test]
async fn what_is_denied_earlier_is_not_counted() {
    let quota = || limits(Quota::per_hour(nonzero!(2)));
    let (layer, store, _) = limited(
        |rate| rate,
        |record| {
            record.details.limits = quota();
            record.disabled = true;
        },
    )
    .await;
    for _ in 0..5 {
        assert_eq!(send(&layer, with_key(KEY)).outcome(), "disabled_key");
    }
    let digest = record_with(KEY, |_| {}).digest;
    let found = tower_api_key::store::KeyStore::find(&store, &digest).await.unwrap().unwrap();
    let mut enabled = tower_api_key::key::KeyRecord::clone(&found);
    enabled.disabled = false;
    enabled.revision += 1;
    enabled.details.allowed_addresses = Box::new(["10.0.0.0/8".parse().unwrap()]);
    store.update(&found, &enabled).await.unwrap();
    for _ in 0..5 {
        assert_eq!(send(&layer, with_key(KEY)).outcome(), "address_not_allowed");
    }
    let mut anywhere = enabled.clone();
    anywhere.details.allowed_addresses = Box::default();
    anywhere.revision += 1;
    store.update(&enabled, &anywhere).await.unwrap();
    assert_eq!(admitted(&layer, KEY), 2);
}

#[tokio::test]
async fn keys_of_an_owner_count_together_where_that_is_wanted() {
    for (per_owner, expected) in [(false, 4), (true, 0)] {
        let quota = limits(Quota::per_hour(nonzero!(4)));
        let (layer, store, _) = limited(
            |rate| if per_owner { rate.per_owner() } else { rate },
            |record| {
                record.owner = Some("anna".into());
                record.details.limits = quota.clone();
            },
        )
        .await;
        let sibling = record_with(OTHER_KEY, |record| {
            record.owner = Some("anna".into());
            record.details.limits = quota;
        });
        store.insert(&sibling).await.unwrap();
        assert_eq!(admitted(&layer, KEY), 4);
        assert_eq!(admitted(&layer, OTHER_KEY), expected, "{per_owner}");
    }
}

#[tokio::test]
async fn a_rotation_does_not_begin_anew() {
    let clock = clock();
    let manager = KeyManager::new(MemoryStore::new()).with_clock(clock.clone());
    let new = NewKey { limits: limits(Quota::per_hour(nonzero!(6))), ..NewKey::named("old") };
    let old = manager.create(new).await.unwrap();
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock).build());
    let layer = manager.layer().with_rate_limits(rate);
    for _ in 0..4 {
        assert_eq!(send(&layer, with_key(old.secret.expose())).outcome(), "admitted");
    }
    let grace = RotationGrace::FromNow(seconds(3_600));
    let next = manager.rotate(old.record.id, grace).await.unwrap();
    assert_eq!(admitted(&layer, next.secret.expose()), 2);
    assert_eq!(admitted(&layer, old.secret.expose()), 0);
}

#[tokio::test]
async fn a_hook_says_what_a_request_costs() {
    let cost = |path: &str| if path == "/export" { 4 } else { u32::from(path != "/free") };
    let (layer, ..) = limited(
        |rate| rate.with_cost(move |request| cost(request.uri.path())),
        |record| record.details.limits = limits(Quota::per_hour(nonzero!(5))),
    )
    .await;
    let send_to = |path| send(&layer, request_to(path, &[("x-api-key", KEY)])).outcome();
    assert_eq!(send_to("/export"), "admitted");
    assert_eq!(send_to("/export"), "rate_limited");
    assert_eq!(send_to("/"), "admitted");
    assert_eq!(send_to("/"), "rate_limited");
    assert_eq!(send_to("/free"), "admitted");
}

/// A client that does what it is told succeeds.
#[tokio::test]
async fn whoever_waits_as_long_as_told_is_let_in() {
    for quota in [
        Quota::per_second(nonzero!(3)),
        Quota::per_minute(nonzero!(7)).with_burst(nonzero!(2)),
        Quota::new(nonzero!(1), std::time::Duration::from_millis(1)).unwrap(),
        Quota::per_day(nonzero!(5)),
    ] {
        let (layer, _, clock) =
            limited(|rate| rate, |record| record.details.limits = limits(quota)).await;
        let mut denied = 0;
        for _ in 0..50 {
            let answer = send(&layer, with_key(KEY));
            if answer.outcome() == "admitted" {
                continue;
            }
            denied += 1;
            let rejection = answer.rejection();
            assert_eq!(rejection.kind(), RejectionKind::RateLimited);
            assert_eq!(rejection.limit(), Some("test"));
            let wait = answer.response.headers()["retry-after"].to_str().unwrap();
            let wait: u64 = wait.parse().unwrap();
            assert!(wait >= 1);
            clock.advance(seconds(wait));
            assert_eq!(send(&layer, with_key(KEY)).outcome(), "admitted", "{quota:?}");
        }
        assert!(denied > 0, "{quota:?}");
    }
}

#[tokio::test]
async fn a_key_that_expires_is_expired_before_it_is_limited() {
    let (layer, _, clock) = limited(
        |rate| rate,
        |record| {
            record.expires_at = Some(at(1_000));
            record.details.limits = limits(Quota::per_hour(nonzero!(1)));
        },
    )
    .await;
    assert_eq!(admitted(&layer, KEY), 1);
    clock.advance(seconds(1));
    assert_eq!(send(&layer, with_key(KEY)).outcome(), "expired_key");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn denials_are_what_they_are_behind_axum_too() {
    use axum::{Router, routing::get};

    use crate::support::{code, respond};

    let (layer, ..) = limited(
        |rate| rate,
        |record| {
            record.details.limits = limits(Quota::per_hour(nonzero!(1)));
        },
    )
    .await;
    let app: Router = Router::new().route("/", get(|| async { "in" })).layer(layer);
    let request = || with_key(KEY).map(|()| axum::body::Body::empty());
    assert_eq!(respond(app.clone(), request()).await.status(), 200);
    let denied = respond(app, request()).await;
    assert_eq!((denied.status().as_u16(), code(&denied)), (429, "rate_limited".to_owned()));
}
