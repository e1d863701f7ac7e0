//! How much is written at once.

use std::time::Duration;

use tower_api_key::{ApiKeyLayer, UsageRecorder, store::KeyRepository};

use super::{Call, Mood, Moody, hours};
use crate::support::{clock, record, send, with_key};

/// A layer over this many keys, and the keys.
async fn many_keys(
    store: &Moody,
    usage: &UsageRecorder,
    number: usize,
) -> (ApiKeyLayer, Vec<String>) {
    let keys: Vec<_> = (0..number).map(|number| format!("key-number-{number:012}")).collect();
    for key in &keys {
        store.insert(&record(key)).await.unwrap();
    }
    (ApiKeyLayer::new(store.clone()).with_usage(usage.clone()), keys)
}

#[tokio::test]
async fn ten_thousand_keys_are_written_in_at_most_twenty_statements() {
    let store = Moody::new(Mood::Well);
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let (layer, keys) = many_keys(&store, &usage, 10_000).await;
    for key in &keys {
        assert!(send(&layer, with_key(key)).seen.is_some());
    }
    usage.flush().await.unwrap();
    let calls = store.calls();
    println!("{} statements for {} keys", calls.len(), keys.len());
    assert!(calls.len() <= 20);
    for kind in [Call::Uses, Call::Usage] {
        let entries = calls.iter().filter(|(call, _)| *call == kind).map(|(_, entries)| entries);
        assert_eq!(entries.sum::<usize>(), 10_000, "each key once: {kind:?}");
    }
    assert_eq!(hours(&store.keys).await, [(0, "accepted", 10_000)]);
}

#[tokio::test(start_paused = true)]
async fn very_many_keys_are_written_before_the_interval_is_over() {
    let store = Moody::new(Mood::Well);
    let usage = UsageRecorder::builder(store.clone())
        .with_clock(clock())
        .with_interval(Duration::from_mins(30))
        .build()
        .unwrap();
    let (layer, keys) = many_keys(&store, &usage, 10_000).await;
    let (last, others) = keys.split_last().unwrap();
    for key in others {
        send(&layer, with_key(key));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hours(&store.keys).await, []);
    send(&layer, with_key(last));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hours(&store.keys).await, [(0, "accepted", 10_000)]);
}
