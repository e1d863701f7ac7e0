//! Metrics that are published: requests by outcome, caches, limiters, recorders. And how long lookups
//! and limiters took.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use http_body_util::Full;
use metrics::set_default_local_recorder;
use tower::{Layer, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyManager, NewKey, RateLimits, UsageRecorder,
    auth::{Enforcement, Unidentified},
    clock::SettableClock,
    limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
    nonzero,
    store::{MemoryStore, StoreErrorKind},
    telemetry,
};

use crate::{
    denials::denied,
    figures::Figures,
    secrets::child,
    stores::TestStore,
    support::{KEY, NOW, OTHER_KEY, clock, get, record, request, respond, send_waiting, with_key},
};

/// The requests of each outcome that were published.
fn requests(figures: &Figures) -> [u64; 6] {
    telemetry::publish();
    ["accepted", "anonymous", "bypassed", "preflight", "elsewhere", "denied"].map(|outcome| {
        figures.counter(&format!("tower_api_key_requests_total{{outcome={outcome}}}"))
    })
}

fn preflight() -> Request<()> {
    let headers = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let mut request = request(&headers);
    *request.method_mut() = Method::OPTIONS;
    request
}

/// Each request is counted once, under its outcome, whether it waited or not.
#[tokio::test]
async fn every_request_is_counted_under_its_outcome() {
    // The counts are of the process.
    if !child::is_child() {
        child::run("published::every_request_is_counted_under_its_outcome", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let mut expected = [0; 6];
    assert_eq!(requests(&figures), expected);

    for store in [TestStore::new([record(KEY)]), TestStore::waiting([record(KEY)])] {
        let layer = ApiKeyLayer::new(store).with_clock(clock());
        let open = layer.clone().allow_anonymous();
        let bypass = layer.clone().with_bypass(|request| request.uri.path() == "/health");
        for (outcome, layer, request) in [
            (0, &layer, with_key(KEY)),
            (0, &open, with_key(KEY)),
            (1, &open, get("/")),
            (2, &bypass, get("/health")),
            (5, &layer, get("/")),
            (5, &open, with_key(OTHER_KEY)),
        ] {
            for _ in 0..3 {
                send_waiting(layer, request.clone()).await;
                expected[outcome] += 1;
            }
            assert_eq!(requests(&figures), expected, "{request:?}");
        }
        let inner = || {
            service_fn(async |_: Request<Full<bytes::Bytes>>| {
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
            })
        };
        let service = layer.clone().pass_cors_preflights().layer(inner());
        respond(service, preflight().map(|()| Full::default())).await;
        expected[3] += 1;
        assert_eq!(requests(&figures), expected);
    }
    // Every kind of denial is one.
    for (kind, layer, request) in denied() {
        send_waiting(&layer, request).await;
        expected[5] += 1;
        assert_eq!(requests(&figures), expected, "{kind:?}");
    }
}

/// What a combinator leaves to its other half is none of ours, and was not let in by us.
#[tokio::test]
async fn a_combinator_counts_what_it_leaves_to_the_other_layer() {
    if !child::is_child() {
        child::run("published::a_combinator_counts_what_it_leaves_to_the_other_layer", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let manager = KeyManager::new(MemoryStore::new());
    let key = manager.create(NewKey::named("key")).await.unwrap().secret.expose().to_owned();
    let layer = manager.layer().or_else(tower::layer::util::Identity::new()).unwrap();
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let unknown = KeyFormat::new("key").unwrap().generate().unwrap();
    for (request, expected) in [
        (with_key(&key), [1, 0, 0, 0, 0, 0]),
        (get("/"), [1, 0, 0, 0, 1, 0]),
        (with_key(unknown.expose()), [1, 0, 0, 0, 1, 1]),
    ] {
        respond(layer.layer(inner), request).await;
        assert_eq!(requests(&figures), expected);
    }
}

/// All of them, those of layers in shadow as well.
const OUTCOMES: [&str; 8] = [
    "accepted",
    "anonymous",
    "bypassed",
    "preflight",
    "elsewhere",
    "denied",
    "would_deny",
    "undecided",
];

/// A layer in shadow, or beside another check, counts what it would have done.
#[tokio::test(start_paused = true)]
async fn requests_in_shadow_are_counted_under_their_outcome() {
    if !child::is_child() {
        child::run("published::requests_in_shadow_are_counted_under_their_outcome", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let counted = || {
        telemetry::publish();
        OUTCOMES.map(|outcome| {
            figures.counter(&format!("tower_api_key_requests_total{{outcome={outcome}}}"))
        })
    };
    let mut expected = [0; 8];
    let inner = || {
        service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
        })
    };
    let stuck = || ApiKeyLayer::new(TestStore::stuck()).with_clock(clock());
    for store in [TestStore::new([record(KEY)]), TestStore::waiting([record(KEY)])] {
        let layer = ApiKeyLayer::new(store).with_clock(clock());
        let open = layer.clone().allow_anonymous();
        let bypass = layer.clone().with_bypass(|request| request.uri.path() == "/health");
        for (outcome, layer, request) in [
            ("accepted", layer.clone(), with_key(KEY)),
            ("anonymous", open.clone(), get("/")),
            ("bypassed", bypass, get("/health")),
            ("would_deny", layer.clone(), get("/")),
            ("would_deny", open, with_key(OTHER_KEY)),
            ("undecided", stuck(), with_key(KEY)),
        ] {
            let outcome = OUTCOMES.iter().position(|other| *other == outcome).unwrap();
            let until = NOW.saturating_add(Duration::from_hours(1));
            respond(layer.clone().shadow_until(until).layer(inner()), request.clone()).await;
            expected[outcome] += 1;
            assert_eq!(counted(), expected, "{request:?}");
            let beside = layer.shadowing(tower::layer::util::Identity::new());
            respond(beside.layer(inner()), request.clone()).await;
            expected[outcome] += 1;
            assert_eq!(counted(), expected, "beside: {request:?}");
        }
        // What is enforced is counted once, as by a layer that enforces.
        let all = Enforcement::by(|_| true, Unidentified::Enforce);
        let until = NOW.saturating_add(Duration::from_hours(1));
        let enforced = layer.shadow_until(until).with_enforcement(all);
        for (outcome, request) in [(0, with_key(KEY)), (5, with_key(OTHER_KEY))] {
            respond(enforced.layer(inner()), request).await;
            expected[outcome] += 1;
            assert_eq!(counted(), expected);
        }
    }
}

/// Threads count for themselves, and none is missed.
#[test]
fn requests_of_all_threads_are_in_the_sum() {
    if !child::is_child() {
        child::run("published::requests_of_all_threads_are_in_the_sum", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_clock(clock());
    // More than have a number of their own.
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| (0..50).for_each(|_| drop(crate::support::send(&layer, with_key(KEY)))));
        }
    });
    assert_eq!(requests(&figures)[0], 5_000);
}

/// A recorder that is installed late has the whole sums, too.
#[test]
fn a_late_recorder_has_all_counts() {
    if !child::is_child() {
        child::run("published::a_late_recorder_has_all_counts", None);
        return;
    }
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_clock(clock());
    crate::support::send(&layer, with_key(KEY));
    telemetry::publish();
    for _ in 0..2 {
        let figures = Figures::default();
        let _figures = set_default_local_recorder(&figures);
        assert_eq!(requests(&figures)[0], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_measured_by_their_result() {
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let lookups = |result: &str| {
        figures.durations(&format!("tower_api_key_lookup_duration_seconds{{result={result}}}"))
    };
    let store = || TestStore::taking(Duration::from_millis(30), [record(KEY)]);
    let layer = ApiKeyLayer::new(store()).with_clock(clock());
    for (key, result) in [(KEY, "found"), (OTHER_KEY, "not_found")] {
        send_waiting(&layer, with_key(key)).await;
        assert_eq!(lookups(result), [0.03]);
    }
    let slow = ApiKeyLayer::new(store()).with_lookup_timeout(Duration::from_millis(10));
    send_waiting(&slow, with_key(KEY)).await;
    send_waiting(&ApiKeyLayer::new(TestStore::failing(StoreErrorKind::Corrupt)), with_key(KEY))
        .await;
    assert_eq!(lookups("failed"), [0.01, 0.0]);
    // What memory answers is not measured.
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_clock(clock());
    send_waiting(&layer, with_key(KEY)).await;
    assert_eq!(lookups("found"), [0.03]);
}

/// The lag is the time since all was written, and grows while the store fails.
#[tokio::test(start_paused = true)]
async fn a_recorder_tells_how_long_counts_have_waited() {
    if !child::is_child() {
        child::run("published::a_recorder_tells_how_long_counts_have_waited", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let lag = || {
        telemetry::publish();
        figures.gauge("tower_api_key_usage_flush_lag_seconds")
    };
    let clock = SettableClock::new(NOW);
    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone());
    let key = manager.create(NewKey::named("key")).await.unwrap().secret.expose().to_owned();
    let usage = UsageRecorder::builder(store).with_clock(clock.clone()).build().unwrap();
    let layer = manager.layer().with_usage(usage.clone());
    clock.advance(Duration::from_mins(1));
    assert_eq!(lag(), 0, "nothing was used");
    send_waiting(&layer, with_key(&key)).await;
    clock.advance(Duration::from_secs(7));
    assert_eq!(lag(), 7);
    usage.flush().await.unwrap();
    assert_eq!(lag(), 0);
    clock.advance(Duration::from_secs(4));
    assert_eq!(lag(), 4);
    drop((layer, usage));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(lag(), 0, "a recorder that is gone waits for nothing");
}

#[tokio::test]
async fn a_limiter_tells_how_many_buckets_it_has() {
    if !child::is_child() {
        child::run("published::a_limiter_tells_how_many_buckets_it_has", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let buckets = || {
        telemetry::publish();
        figures.gauge("tower_api_key_limiter_buckets{limiter=local}")
    };
    let minute = Limit::new("minute", Quota::per_minute(nonzero!(9))).unwrap();
    let tiers = Tiers::new().with_default(Limits::new([minute]).unwrap());
    let limits = RateLimits::new(LocalLimiter::new()).with_tiers(tiers);
    let store = TestStore::new([record(KEY), record(OTHER_KEY)]);
    let layer = ApiKeyLayer::new(store).with_clock(clock()).with_rate_limits(limits);
    assert_eq!(buckets(), 0);
    for (key, expected) in [(KEY, 1), (KEY, 1), (OTHER_KEY, 2)] {
        send_waiting(&layer, with_key(key)).await;
        assert_eq!(buckets(), expected);
    }
    drop(layer);
    assert_eq!(buckets(), 0);
}

/// Caches of both kinds, and what stays when they are gone.
#[cfg(feature = "cache")]
#[tokio::test]
async fn a_cache_tells_what_it_answers_from_memory() {
    use tower_api_key::store::CachedStore;

    if !child::is_child() {
        child::run("published::a_cache_tells_what_it_answers_from_memory", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let read = || {
        telemetry::publish();
        let counter =
            |name| figures.counter(&format!("tower_api_key_cache_{name}_total{{cache=keys}}"));
        let entries = figures.gauge("tower_api_key_cache_entries{cache=keys}");
        ([counter("hits"), counter("misses"), counter("stale")], entries)
    };
    for round in 1..3 {
        let cache = CachedStore::new(TestStore::waiting([record(KEY)]));
        let layer = ApiKeyLayer::new(cache.clone()).with_clock(clock());
        for _ in 0..10 {
            send_waiting(&layer, with_key(KEY)).await;
        }
        send_waiting(&layer, with_key(OTHER_KEY)).await;
        assert_eq!(read(), ([9 * round, 2 * round, 0], 2));
        assert_eq!((cache.stats().hits, cache.stats().misses), (9, 2));
        drop((cache, layer));
        // Its tasks end with it.
        tokio::task::yield_now().await;
        assert_eq!(read(), ([9 * round, 2 * round, 0], 0));
    }
}

/// Of more keys than it has room for, some make way.
#[cfg(feature = "cache")]
#[tokio::test]
async fn a_cache_tells_which_keys_made_way() {
    use tower_api_key::store::CachedStore;

    if !child::is_child() {
        child::run("published::a_cache_tells_which_keys_made_way", None);
        return;
    }
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    let keys: Vec<_> = (0..500).map(|number| format!("key-{number:028}")).collect();
    let store = TestStore::waiting(keys.iter().map(|key| record(key)));
    let cache = CachedStore::builder(store).with_capacity(64).build();
    let layer = ApiKeyLayer::new(cache.clone()).with_clock(clock());
    for key in &keys {
        send_waiting(&layer, with_key(key)).await;
    }
    telemetry::publish();
    let left = figures.gauge("tower_api_key_cache_entries{cache=keys}");
    let evicted = figures.counter("tower_api_key_cache_evictions_total{cache=keys}");
    assert!((1..=64).contains(&left), "{left}");
    assert_eq!(evicted, 500 - u64::try_from(left).unwrap());
    assert_eq!(cache.stats().evictions, evicted);
}

#[tokio::test(start_paused = true)]
async fn publishing_goes_on_by_itself() {
    if !child::is_child() {
        child::run("published::publishing_goes_on_by_itself", None);
        return;
    }
    let figures = Arc::new(Figures::default());
    let _figures = set_default_local_recorder(&*figures);
    let publishing = tokio::spawn(telemetry::publish_every(Duration::from_secs(1)));
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_clock(clock());
    for sent in 1..4 {
        crate::support::send(&layer, with_key(KEY));
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        assert_eq!(figures.counter("tower_api_key_requests_total{outcome=accepted}"), sent);
    }
    publishing.abort();
}

/// Each metric is described to the recorder, with its kind and unit.
#[test]
fn metrics_are_described() {
    let figures = Figures::default();
    let _figures = set_default_local_recorder(&figures);
    telemetry::describe();
    let described = figures.described();
    assert!(described.len() > 40, "{described:?}");
    for (name, (kind, unit)) in described {
        let of_name = if name.ends_with("_seconds") {
            "seconds"
        } else if name.contains("_bytes") {
            "bytes"
        } else {
            "count"
        };
        assert_eq!(unit, of_name, "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert_eq!(name.contains("_duration_"), kind == "histogram", "{name}");
    }
}
