//! Counts by hour and outcome.

use std::time::Duration;

use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey, UsageRecorder,
    manage::RotationGrace,
    store::{KeyRepository, MemoryStore, UsageLog},
};

use super::{Call, Mood, Moody, Ticking, accepted, brief, hours};
use crate::support::{KEY, NOW, OTHER_KEY, at, clock, record, send, with_key};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

#[tokio::test]
async fn uses_are_counted_by_hour() {
    let store = MemoryStore::new();
    store.insert(&record(KEY)).await.unwrap();
    store.insert(&record(OTHER_KEY)).await.unwrap();
    let clock = clock();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock.clone()).build().unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    for (millis, key, times) in
        [(0, KEY, 2), (20 * MINUTE, OTHER_KEY, 1), (HOUR, KEY, 3), (25 * HOUR + 1, KEY, 1)]
    {
        clock.set(at(millis));
        for _ in 0..times {
            send(&layer, with_key(key));
        }
        // The hour is that of the collection, and of uses within the interval before.
        clock.advance(Duration::from_secs(5));
        usage.flush().await.unwrap();
    }
    let expected = [(0, "accepted", 3), (HOUR, "accepted", 3), (25 * HOUR, "accepted", 1)];
    assert_eq!(hours(&store).await, expected);
}

#[tokio::test(start_paused = true)]
async fn uses_just_before_the_turn_of_an_hour_count_for_the_old_one() {
    let store = MemoryStore::new();
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::builder(store.clone())
        .with_clock(Ticking::from(at(-30_000)))
        .with_interval(Duration::from_mins(10))
        .build()
        .unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage);
    send(&layer, with_key(KEY));
    tokio::time::sleep(Duration::from_secs(29)).await;
    send(&layer, with_key(KEY));
    assert_eq!(hours(&store).await, []);
    // They are written at once, and not only when the interval is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(hours(&store).await, [(-HOUR, "accepted", 2)]);
    send(&layer, with_key(KEY));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(hours(&store).await, [(-HOUR, "accepted", 2), (0, "accepted", 1)]);
}

#[tokio::test]
async fn usage_is_that_of_the_lineage() {
    let store = MemoryStore::new();
    let clock = clock();
    let manager = KeyManager::new(store.clone()).with_clock(clock.clone());
    let usage = UsageRecorder::builder(store).with_clock(clock.clone()).build().unwrap();
    let layer = manager.layer().with_clock(clock).with_usage(usage.clone());
    let old = manager.create(NewKey::named("rotated")).await.unwrap();
    let grace = RotationGrace::FromNow(Duration::from_hours(1));
    let new = manager.rotate(old.record.id, grace).await.unwrap();
    for key in [&old, &new, &new] {
        assert!(send(&layer, with_key(key.secret.expose())).seen.is_some());
        usage.flush().await.unwrap();
    }
    for id in [old.record.id, new.record.id] {
        let counts = manager.usage_of(id, NOW, at(HOUR)).await.unwrap();
        assert_eq!(brief(&counts), [(0, "accepted", 3)]);
    }
    assert_eq!(manager.get(new.record.id).await.unwrap().use_count, 2);
}

#[tokio::test(start_paused = true)]
async fn old_counts_are_removed_once_in_an_hour() {
    let store = Moody::new(Mood::Well);
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let old = [accepted(record.id, at(-49 * HOUR), 1), accepted(record.id, at(-48 * HOUR), 2)];
    store.keys.record_usage(&old).await.unwrap();
    let usage = UsageRecorder::builder(store.clone())
        .with_clock(Ticking::from(at(10 * MINUTE)))
        .with_retention(Duration::from_hours(48))
        .build()
        .unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage);
    let removals = || {
        let calls = store.calls().into_iter().map(|(call, _)| call);
        calls.filter(|call| matches!(call, Call::Forget(_))).collect::<Vec<_>>()
    };
    store.set(Mood::Clinging);
    send(&layer, with_key(KEY));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(removals(), [Call::Forget(at(-48 * HOUR))]);
    // It failed, and is tried again.
    store.set(Mood::Well);
    tokio::time::sleep(Duration::from_mins(40)).await;
    assert_eq!(removals(), [Call::Forget(at(-48 * HOUR)); 2]);
    assert_eq!(hours(&store.keys).await, [(-48 * HOUR, "accepted", 2), (0, "accepted", 1)]);
    tokio::time::sleep(Duration::from_mins(20)).await;
    assert_eq!(removals()[2..], [Call::Forget(at(-47 * HOUR))]);
    assert_eq!(hours(&store.keys).await, [(0, "accepted", 1)]);
}
