//! Uses while the repository does not write them.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tower_api_key::{
    ApiKeyLayer, UsageRecorder,
    key::{KeyDigest, KeyRecord},
    store::{KeyRepository, KeyStore, MemoryStore, StoreError, StoreErrorKind},
};

use super::{Call, Mood, Moody, hours, uses};
use crate::support::{
    KEY, NOW, OTHER_KEY, at, clock, record, record_with, send, send_waiting, with_key,
};

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn nothing_is_lost_while_the_repository_fails() {
    let store = Moody::new(Mood::Failing);
    let (one, two) = (record(KEY), record_with(OTHER_KEY, |r| r.created_at = at(1)));
    store.insert(&one).await.unwrap();
    store.insert(&two).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    send(&layer, with_key(KEY));
    assert_eq!(usage.flush().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    send(&layer, with_key(KEY));
    send(&layer, with_key(OTHER_KEY));
    assert!(usage.flush().await.is_err());
    store.set(Mood::Well);
    usage.flush().await.unwrap();
    assert_eq!(uses(&store.keys, one.id).await, (2, Some(NOW)));
    assert_eq!(uses(&store.keys, two.id).await, (1, Some(NOW)));
    assert_eq!(hours(&store.keys).await, [(0, "accepted", 3)]);
}

#[tokio::test]
async fn the_oldest_hours_are_dropped_and_no_total_is() {
    let store = Moody::new(Mood::Failing);
    let (one, two) = (record(KEY), record(OTHER_KEY));
    store.insert(&one).await.unwrap();
    store.insert(&two).await.unwrap();
    let clock = clock();
    let usage = UsageRecorder::builder(store.clone())
        .with_clock(clock.clone())
        .with_detail_capacity(3)
        .build()
        .unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    for hour in 0..5 {
        clock.set(at(hour * HOUR + 10_000));
        send(&layer, with_key(KEY));
        send(&layer, with_key(OTHER_KEY));
        assert!(usage.flush().await.is_err());
    }
    send(&layer, with_key(KEY));
    store.set(Mood::Well);
    usage.flush().await.unwrap();
    let last = Some(at(4 * HOUR + 10_000));
    assert_eq!(uses(&store.keys, one.id).await, (6, last));
    assert_eq!(uses(&store.keys, two.id).await, (5, last));
    // Three of ten: both of the last hour, and one of those before.
    assert_eq!(hours(&store.keys).await, [(3 * HOUR, "accepted", 1), (4 * HOUR, "accepted", 3)]);
}

#[tokio::test]
async fn a_recorder_of_totals_only_writes_no_counts_by_hour() {
    let store = Moody::new(Mood::Well);
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).totals_only();
    let usage = usage.build().unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    for _ in 0..3 {
        send(&layer, with_key(KEY));
        usage.flush().await.unwrap();
    }
    assert_eq!(uses(&store.keys, record.id).await, (3, Some(NOW)));
    assert_eq!(store.calls(), [(Call::Uses, 1); 3]);
}

#[test]
fn counts_that_are_not_kept_have_no_retention() {
    let day = Duration::from_hours(24);
    let totals = || UsageRecorder::builder(MemoryStore::new()).totals_only();
    for builder in [
        totals().with_retention(day),
        UsageRecorder::builder(MemoryStore::new()).with_retention(day).totals_only(),
    ] {
        assert_eq!(
            builder.build().unwrap_err().to_string(),
            "`UsageRecorderBuilder::totals_only` and `with_retention` cannot be used together: \
             there are no counts by hour to remove"
        );
    }
    assert!(totals().build().is_ok());
}

#[tokio::test]
async fn a_flush_that_is_given_up_loses_nothing() {
    let store = Moody::new(Mood::Silent);
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    send(&layer, with_key(KEY));
    let given_up = tokio::time::timeout(Duration::from_millis(10), usage.flush()).await;
    assert!(given_up.is_err());
    assert_eq!(store.calls(), [(Call::Uses, 1)]);
    store.set(Mood::Well);
    usage.flush().await.unwrap();
    assert_eq!(uses(&store.keys, record.id).await.0, 1);
    assert_eq!(hours(&store.keys).await, [(0, "accepted", 1)]);
}

/// A store that makes a record anew for each lookup, and remembers which are still there.
struct Fresh {
    record: KeyRecord,
    made: Arc<Mutex<Vec<Weak<KeyRecord>>>>,
}

#[async_trait]
impl KeyStore for Fresh {
    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let record = Arc::new(self.record.clone());
        self.made.lock().unwrap().push(Arc::downgrade(&record));
        Ok(Some(record))
    }
}

#[tokio::test(start_paused = true)]
async fn records_do_not_pile_up_while_a_write_hangs() {
    let store = Moody::new(Mood::Silent);
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let made = Arc::default();
    let fresh = Fresh { record: record.clone(), made: Arc::clone(&made) };
    let layer = ApiKeyLayer::new(fresh).with_usage(usage.clone());
    for _ in 0..20 {
        for _ in 0..10 {
            assert!(send_waiting(&layer, with_key(KEY)).await.seen.is_some());
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        let left = made.lock().unwrap().iter().filter(|made| made.strong_count() > 0).count();
        assert_eq!(left, 0, "records that nobody needs any more");
    }
    // There is one write at a time.
    assert_eq!(store.calls(), [(Call::Uses, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_task_goes_on_after_a_failure() {
    let store = Moody::new(Mood::Failing);
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage);
    send(&layer, with_key(KEY));
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(store.calls(), [(Call::Uses, 1); 2]);
    store.set(Mood::Well);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(uses(&store.keys, record.id).await.0, 1);
}
