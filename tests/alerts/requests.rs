//! Services whose back ends are well: one without trouble, and some with trouble that requests or the wiring
//! make.

use std::{convert::Infallible, iter::repeat_with, time::Duration};

use axum::{Router, routing::get};
use tower_api_key::{
    Credits, KeyFormat, KeyManager, NewKey, OwnerId, OwnerLayer, RateLimits, RequireScopesLayer,
    UsageRecorder,
    clock::{Clock, SystemClock},
    credits::NewCredits,
    limit::{Limit, Limits, LocalLimiter, Quota, RedisLimiter},
    nonzero,
    owner::CachedOwners,
    store::{CachedStore, MemoryStore, RedisInvalidations, SqliteStore},
};

use crate::{
    load::{app, issue, send, send_to},
    service::Stage,
};

/// Keys of the right form that no store knows.
pub(crate) fn unknown_keys() -> impl Iterator<Item = String> {
    let format = KeyFormat::new("key").unwrap();
    repeat_with(move || format.generate().unwrap().expose().to_owned())
}

fn per_second(requests: std::num::NonZeroU32) -> Limits {
    Limits::new([Limit::new("second", Quota::per_second(requests)).unwrap()]).unwrap()
}

async fn resolve(owner: OwnerId) -> Result<Option<String>, Infallible> {
    Ok(Some(owner.to_string()))
}

/// All parts of the crate at work, and denials as there are on any day.
pub(crate) async fn calm(stage: Stage) {
    let store = SqliteStore::open(stage.folder.join("calm.db")).await.unwrap();
    let bus = RedisInvalidations::connect(&stage.shared_redis).await.unwrap();
    let cache = CachedStore::builder(store.clone())
        .with_ttl(Duration::from_secs(3))
        .with_invalidations(bus.clone())
        .build();
    let redis = RedisLimiter::connect(&stage.shared_redis).await.unwrap();
    let manager = KeyManager::new(cache)
        .with_invalidations(bus)
        .with_rate_limits(RateLimits::new(redis))
        .with_credits(Credits::new(store.clone()).unwrap())
        .with_usage(UsageRecorder::new(store).unwrap());
    let limited = NewKey { limits: per_second(nonzero!(4)), ..NewKey::named("limited") };
    let limited = issue(&manager, 2, &limited).await;
    let plain = NewKey {
        owner: Some("an owner".into()),
        credits: Some(NewCredits { remaining: 1_000_000, refill: None }),
        ..NewKey::named("plain")
    };
    let plain = issue(&manager, 40, &plain).await;

    let scopes = RequireScopesLayer::all(["reports:read"]).unwrap();
    let owners = CachedOwners::builder(resolve).with_ttl(Duration::from_secs(2)).build();
    let owned = app().layer(OwnerLayer::new(owners));
    let reports = Router::new().route("/reports", get(async || "ok")).layer(scopes);
    let limits = Router::new().route("/limited", get(async || "ok"));
    let app = owned.merge(reports).merge(limits).layer(manager.layer());
    send(&app, 40, &plain);
    send_to(&app, 1, "/reports", plain.into_iter().cycle());
    send_to(&app, 10, "/limited", limited.into_iter().cycle());
    send_to(&app, 1, "/", unknown_keys());
}

/// Most requests have a key that does not exist.
pub(crate) async fn guesses(mut stage: Stage) {
    let limits = RateLimits::new(LocalLimiter::new());
    let manager = KeyManager::new(MemoryStore::new()).with_rate_limits(limits);
    let minute = Limit::new("minute", Quota::per_minute(nonzero!(100))).unwrap();
    let limited = NewKey { limits: Limits::new([minute]).unwrap(), ..NewKey::named("limited") };
    let keys = issue(&manager, 10, &limited).await;
    let app = app().layer(manager.layer());
    send(&app, 10, &keys);
    stage.trouble().await;
    send_to(&app, 20, "/", unknown_keys());
    send_to(&app, 10, "/", repeat_with(|| "a password".to_owned()));
}

/// A key has a limit, and the layer no limiter. One request is enough.
pub(crate) async fn unenforceable(mut stage: Stage) {
    let manager = KeyManager::new(MemoryStore::new());
    let keys = issue(&manager, 10, &NewKey::named("key")).await;
    let limited = NewKey { limits: per_second(nonzero!(100)), ..NewKey::named("limited") };
    let limited = issue(&manager, 1, &limited).await;
    let app = app().layer(manager.layer());
    send(&app, 20, &keys);
    stage.trouble().await;
    send_to(&app, 20, "/", limited.into_iter());
}

/// A layer that denies nothing, and would.
pub(crate) async fn shadow(mut stage: Stage) {
    let manager = KeyManager::new(MemoryStore::new());
    let keys = issue(&manager, 10, &NewKey::named("key")).await;
    send(&app().layer(manager.layer()), 5, &keys);
    stage.trouble().await;
    let until = SystemClock.now().saturating_add(Duration::from_hours(24));
    let app = app().layer(manager.layer().shadow_until(until));
    send(&app, 20, &keys);
    send_to(&app, 5, "/", unknown_keys());
}
