//! What the layer has the recorder count.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::Request;

use super::{recorder::UsageRecorder, settings::UsageRecorderBuilder};
use crate::{
    clock::{SettableClock, Timestamp},
    key::{KeyDigest, KeyId, KeyRecord, RejectionKind, UsageCount, UsageQuery},
    request::RequestHead,
    store::{KeyRepository, MemoryStore, UsageLog},
};

const HOUR: i64 = 3_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

async fn key(store: &MemoryStore, number: u8) -> Arc<KeyRecord> {
    let id = KeyId::from_bytes([number; 16]);
    let mut record = KeyRecord::new(id, KeyDigest::from_bytes([number; 32]), "a key", at(0));
    record.owner = Some("user-1".into());
    store.insert(&record).await.unwrap();
    Arc::new(record)
}

fn setup() -> (MemoryStore, SettableClock, UsageRecorder) {
    setup_with(|usage| usage)
}

fn setup_with(
    change: impl FnOnce(UsageRecorderBuilder) -> UsageRecorderBuilder,
) -> (MemoryStore, SettableClock, UsageRecorder) {
    let (store, clock) = (MemoryStore::new(), SettableClock::new(at(0)));
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock.clone());
    (store, clock, change(usage).build().unwrap())
}

async fn counted(store: &MemoryStore, owner: Option<&str>) -> Vec<UsageCount> {
    let mut query = UsageQuery::new(at(0), Timestamp::LAST);
    query.owner = owner.map(Into::into);
    store.usage(&query).await.unwrap()
}

#[tokio::test]
async fn denials_are_counted_in_their_hour_and_are_no_uses() {
    let (store, clock, usage) = setup();
    let record = key(&store, 1).await;
    let denials = [
        (HOUR - 1, RejectionKind::Revoked),
        (HOUR - 1, RejectionKind::Revoked),
        (HOUR, RejectionKind::Revoked),
        (HOUR, RejectionKind::RateLimited),
    ];
    for (millis, kind) in denials {
        clock.set(at(millis));
        usage.denied(&record, kind);
    }
    usage.flush().await.unwrap();
    let expected = [(0, "revoked_key", 2), (HOUR, "rate_limited", 1), (HOUR, "revoked_key", 1)];
    let counts = counted(&store, Some("user-1")).await;
    let counts: Vec<_> = counts
        .iter()
        .map(|usage| (usage.hour.as_unix_millis(), usage.outcome.as_str(), usage.count))
        .collect();
    assert_eq!(counts, expected);
    let query = UsageQuery::new(at(0), Timestamp::LAST);
    assert_eq!(store.busiest(&query, 10).await.unwrap(), []);
    let record = store.get(record.id).await.unwrap().unwrap();
    assert_eq!((record.use_count, record.last_used_at), (0, None));
}

#[tokio::test]
async fn denials_take_up_bounded_memory() {
    let (store, clock, usage) = setup_with(|usage| usage.with_detail_capacity(10));
    for number in 1..=20 {
        let record = key(&store, number).await;
        clock.set(at(i64::from(number) * HOUR));
        usage.denied(&record, RejectionKind::Expired);
    }
    usage.flush().await.unwrap();
    let hours = counted(&store, None).await;
    let hours: Vec<_> = hours.iter().map(|usage| usage.hour).collect();
    assert_eq!(hours, (11..=20).map(|hour| at(hour * HOUR)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_owner_that_no_database_keeps_is_left_out() {
    let (store, _, usage) = setup();
    let mut record = KeyRecord::clone(&*key(&store, 1).await);
    record.owner = Some("user\0".into());
    use_from(&usage, &Arc::new(record), None);
    usage.flush().await.unwrap();
    assert_eq!(counted(&store, Some("user\0")).await, []);
    assert_eq!(counted(&store, None).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn denials_alone_are_written_as_well() {
    let (store, _, usage) = setup();
    usage.denied(&*key(&store, 1).await, RejectionKind::Disabled);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(counted(&store, None).await.len(), 1);
}

fn use_from(usage: &UsageRecorder, record: &Arc<KeyRecord>, address: Option<&str>) {
    let mut request = Request::new(());
    if let Some(address) = address {
        request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
    }
    usage.count_from(&record.clone().into(), || RequestHead::from(&request));
}

async fn used_from(store: &MemoryStore, record: &KeyRecord) -> Option<String> {
    let record = store.get(record.id).await.unwrap().unwrap();
    record.details.last_used_from.map(|address| address.to_string())
}

#[tokio::test]
async fn the_address_of_the_last_use_is_recorded_by_choice() {
    let (store, _, usage) = setup();
    let record = key(&store, 1).await;
    usage.count_from(&record.clone().into(), || panic!("no address is wanted"));
    usage.flush().await.unwrap();
    assert_eq!(used_from(&store, &record).await, None);

    let (store, clock, usage) = setup_with(|usage| {
        usage.counting_addresses(|request| request.extensions.get::<IpAddr>().copied())
    });
    let (record, other) = (key(&store, 1).await, key(&store, 2).await);
    for address in ["192.0.2.1", "2001:db8::7", "::ffff:192.0.2.9"] {
        use_from(&usage, &record, Some(address));
    }
    use_from(&usage, &other, Some("192.0.2.1"));
    usage.flush().await.unwrap();
    assert_eq!(used_from(&store, &record).await.as_deref(), Some("192.0.2.9"));
    assert_eq!(used_from(&store, &other).await.as_deref(), Some("192.0.2.1"));

    // From an unknown address: the last known one stays.
    clock.set(at(1_000));
    use_from(&usage, &record, None);
    usage.flush().await.unwrap();
    assert_eq!(used_from(&store, &record).await.as_deref(), Some("192.0.2.9"));
    assert_eq!(store.get(record.id).await.unwrap().unwrap().use_count, 4);
}

#[test]
fn the_task_starts_on_the_first_runtime_that_there_is_and_again_on_the_next() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let (store, _, usage) = setup();
    let record = runtime().block_on(key(&store, 1));
    use_from(&usage, &record, None);
    for expected in [2, 3] {
        runtime().block_on(async {
            usage.denied(&record, RejectionKind::Expired);
            use_from(&usage, &record, None);
            tokio::time::sleep(Duration::from_secs(6)).await;
            let record = store.get(record.id).await.unwrap().unwrap();
            assert_eq!(record.use_count, expected);
        });
    }
}
