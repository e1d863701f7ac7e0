//! Keys with a restriction that a layer cannot enforce are refused, unless it says so by name.

use tower_api_key::{
    ApiKeyLayer, Credits, RateLimits,
    key::{KeyRecord, Needs},
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use super::super::support::{KEY, record_with, send_waiting, with_key};

fn limited(record: &mut KeyRecord) {
    let limit = Limit::new("minute", Quota::per_minute(nonzero!(9))).unwrap();
    record.details.limits = Limits::new([limit]).unwrap();
}

fn spending(record: &mut KeyRecord) {
    record.details.credits = Some(0);
}

fn tiered(record: &mut KeyRecord) {
    record.details.tier = Some("gold".into());
}

fn newer(record: &mut KeyRecord) {
    record.details.unknown_needs = Needs::from_bits(1 << 40);
}

/// What a layer makes of a key like this, as its code.
async fn outcome(change: fn(&mut KeyRecord), layer: impl Fn(ApiKeyLayer) -> ApiKeyLayer) -> String {
    let store = MemoryStore::new();
    store.insert(&record_with(KEY, change)).await.unwrap();
    let layer = layer(ApiKeyLayer::new(store));
    send_waiting(&layer, with_key(KEY)).await.outcome().clone()
}

#[tokio::test]
async fn a_restriction_that_nothing_enforces_lets_nobody_in() {
    let refused = "store_unavailable";
    let limits = || RateLimits::new(LocalLimiter::new());
    let credits = || Credits::new(MemoryStore::new()).unwrap();
    for (change, bare, told) in [
        (limited as fn(&mut KeyRecord), refused, "admitted"),
        (spending, refused, "admitted"),
        // A name is not a restriction by itself.
        (tiered, "admitted", "admitted"),
        // What nobody here knows, nobody can pass over.
        (newer, refused, refused),
    ] {
        assert_eq!(outcome(change, |layer| layer).await, bare);
        let ignoring = |layer: ApiKeyLayer| layer.ignoring_limits().ignoring_credits();
        assert_eq!(outcome(change, ignoring).await, told);
    }
    assert_eq!(outcome(limited, |layer| layer.with_rate_limits(limits())).await, "admitted");
    assert_eq!(outcome(limited, |layer| layer.with_credits(credits())).await, refused);
    assert_eq!(outcome(limited, ApiKeyLayer::ignoring_credits).await, refused);
    assert_eq!(outcome(spending, |layer| layer.with_rate_limits(limits())).await, refused);
    assert_eq!(outcome(spending, ApiKeyLayer::ignoring_limits).await, refused);
    // There is no balance, which is what it says then.
    assert_eq!(outcome(spending, |layer| layer.with_credits(credits())).await, "credits_exhausted");
}

/// An earlier step comes first: a revoked key is that, whatever it needs.
#[tokio::test]
async fn earlier_steps_come_first() {
    let ended = |record: &mut KeyRecord| {
        newer(record);
        record.disabled = true;
    };
    assert_eq!(outcome(ended, |layer| layer).await, "disabled_key");
}

/// A key that comes from a cache is refused each time, and the log says it once in ten seconds.
#[cfg(all(feature = "cache", feature = "file-yaml", feature = "metrics", feature = "tracing"))]
#[tokio::test]
async fn keys_from_a_cache_are_refused_as_well() {
    use crate::{secrets::child, static_file::telling::Printer};

    const TEST: &str = "limits::needs::keys_from_a_cache_are_refused_as_well";
    // Other tests of this process have such keys as well.
    if !child::is_child() {
        let printed = child::run(TEST, None);
        let count = |text: &str| printed.lines().filter(|line| line.contains(text)).count();
        assert_eq!(count("a restriction that this layer does not enforce"), 1, "{printed}");
        assert_eq!(count("(tower_api_key_unenforceable_total) +1"), 3, "{printed}");
        assert!(!printed.contains(KEY), "{printed}");
        return;
    }
    tracing_subscriber::fmt().with_ansi(false).init();
    metrics::set_global_recorder(Printer).unwrap();
    let store = MemoryStore::new();
    store.insert(&record_with(KEY, limited)).await.unwrap();
    let cache = tower_api_key::store::CachedStore::new(store);
    let layer = ApiKeyLayer::new(cache.clone());
    for _ in 0..3 {
        assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "store_unavailable");
    }
    assert_eq!((cache.stats().misses, cache.stats().hits), (1, 2));
    // It is the layer that refuses: one that enforces limits lets the same entry in.
    let limits = RateLimits::new(LocalLimiter::new());
    let layer = ApiKeyLayer::new(cache).with_rate_limits(limits);
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "admitted");
}
