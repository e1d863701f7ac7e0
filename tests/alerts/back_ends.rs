//! Services that lose a back end.

use std::{future::pending, time::Duration};

use axum::Router;
use sqlx::{Connection, SqliteConnection};
use tokio::time::sleep;
use tower_api_key::{
    Credits, KeyManager, NewKey, RateLimits, UsageRecorder,
    axum::{ManagementGuard, management_router},
    credits::NewCredits,
    limit::{Limit, Limits, OutagePolicy, Quota, RedisLimiter},
    nonzero,
    store::{CachedStore, MemoryStore, PostgresStore, RedisInvalidations, RedisStore, SqliteStore},
};

use crate::{
    load::{app, issue, send, send_to},
    proxy::Proxy,
    service::Stage,
};

/// The database ends. Known keys go on from the cache; the others get 503, and so do administrators.
pub(crate) async fn store(stage: Stage) {
    let database = PostgresStore::connect(&stage.own_server).await.unwrap();
    let cache = CachedStore::builder(database).with_ttl(Duration::from_secs(2)).build();
    let manager = KeyManager::new(cache);
    let known = issue(&manager, 20, &NewKey::named("known")).await;
    let new = issue(&manager, 400, &NewKey::named("new")).await;
    let api = app().layer(manager.layer());
    send(&api, 20, &known);
    // Each is used once.
    send_to(&api, 4, "/", new.into_iter());

    let administrators = KeyManager::new(MemoryStore::new());
    let scopes = tower_api_key::Scopes::parse(["keys:read"]).unwrap();
    let administrator = NewKey { scopes, ..NewKey::named("administrator") };
    let administrator = issue(&administrators, 1, &administrator).await;
    let guard = ManagementGuard::keys(administrators.layer());
    let management: Router = Router::new().nest("/keys", management_router(manager, guard));
    send_to(&management, 1, "/keys", administrator.into_iter().cycle());
}

/// Redis ends, and requests that it does not count are denied.
pub(crate) async fn limiter(stage: Stage) {
    let redis = RedisLimiter::connect(&stage.own_server).await.unwrap();
    let limits = RateLimits::new(redis).with_outage(OutagePolicy::FailClosed);
    let manager = KeyManager::new(MemoryStore::new()).with_rate_limits(limits);
    let second = Limit::new("second", Quota::per_second(nonzero!(100))).unwrap();
    let limited = NewKey { limits: Limits::new([second]).unwrap(), ..NewKey::named("limited") };
    let keys = issue(&manager, 5, &limited).await;
    send(&app().layer(manager.layer()), 10, &keys);
}

/// The bus ends while keys are changed.
pub(crate) async fn deaf(stage: Stage) {
    let bus = RedisInvalidations::connect(&stage.own_server).await.unwrap();
    let cache = CachedStore::builder(MemoryStore::new()).with_invalidations(bus.clone()).build();
    let manager = KeyManager::new(cache).with_invalidations(bus);
    let keys = issue(&manager, 10, &NewKey::named("key")).await;
    send(&app().layer(manager.layer()), 10, &keys);
    loop {
        let changed = manager.create(NewKey::named("another key")).await.unwrap();
        manager.revoke(changed.record.id, None).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
}

/// Another program has locked the database, in which uses are counted. There are more counts by hour than
/// there is room for.
pub(crate) async fn counts(stage: Stage) {
    let path = stage.folder.join("counts.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_detail_capacity(5);
    let usage = usage.with_interval(Duration::from_secs(2)).build().unwrap();
    let cache = CachedStore::builder(store).with_ttl(Duration::from_mins(5)).build();
    let manager = KeyManager::new(cache).with_usage(usage);
    let keys = issue(&manager, 20, &NewKey::named("key")).await;
    send(&app().layer(manager.layer()), 20, &keys);
    // So that each has been found.
    sleep(Duration::from_secs(2)).await;
    let url = format!("sqlite://{}", path.display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    // Locked as long as the connection lives.
    pending::<()>().await;
}

/// The network is cut while credits are taken, and for some seconds: no one knows whether they were.
pub(crate) async fn credits(mut stage: Stage) {
    let mut network = Proxy::before(&stage.shared_redis);
    network.delay(Duration::from_millis(30));
    let balances = RedisStore::connect(network.url()).await.unwrap();
    let credits =
        Credits::builder(balances.clone()).with_lease(nonzero!(1).into()).build().unwrap();
    let manager = KeyManager::new(CachedStore::new(balances)).with_credits(credits);
    let spending = NewKey {
        credits: Some(NewCredits { remaining: 1_000_000, refill: None }),
        ..NewKey::named("spending")
    };
    let keys = issue(&manager, 50, &spending).await;
    send(&app().layer(manager.layer()), 100, &keys);
    stage.trouble().await;
    // Whether one is on its way at that moment is chance.
    while !stage.metrics.render().contains("\ntower_api_key_credits_lost_total ") {
        network.cut().await;
        sleep(Duration::from_secs(6)).await;
        network.delay(Duration::from_millis(30));
        sleep(Duration::from_secs(3)).await;
    }
    // There is no network without it.
    pending::<()>().await;
}
