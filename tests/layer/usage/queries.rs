//! What managers, and handles on an owner's keys, can ask about usage.

use tower_api_key::{
    KeyId, KeyManager, NewKey, OwnerId, UsageRecorder,
    manage::ManageError,
    store::MemoryStore,
    usage::{UsageCount, UsageQuery},
};

use super::brief;
use crate::support::{NOW, at, clock, send, with_key};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Keys of `user-1` (used at three hours of two days, and another one) and of `user-2`, and the
/// manager of both.
async fn used() -> (KeyManager, [KeyId; 3]) {
    let store = MemoryStore::new();
    let clock = clock();
    let manager = KeyManager::new(store.clone()).with_clock(clock.clone());
    let usage = UsageRecorder::builder(store).with_clock(clock.clone()).build().unwrap();
    let layer = manager.layer().with_clock(clock.clone()).with_usage(usage.clone());
    let mut keys = Vec::new();
    for owner in ["user-1", "user-1", "user-2"] {
        let key = manager.for_owner(owner).create(NewKey::named("used")).await.unwrap();
        keys.push(key);
    }
    for (hour, key, times) in [(0, 0, 2), (0, 2, 5), (5, 0, 1), (5, 1, 1), (26, 0, 4)] {
        clock.set(at(hour * HOUR + 60_000));
        for _ in 0..times {
            assert!(send(&layer, with_key(keys[key].secret.expose())).seen.is_some());
        }
        usage.flush().await.unwrap();
    }
    let [one, other, anothers] = keys.try_into().unwrap();
    (manager, [one.record.id, other.record.id, anothers.record.id])
}

fn all() -> UsageQuery {
    UsageQuery::new(NOW, at(3 * DAY))
}

fn of(lineage: Option<KeyId>, owner: Option<&str>) -> UsageQuery {
    let mut query = all();
    (query.lineage, query.owner) = (lineage, owner.map(OwnerId::from));
    query
}

#[tokio::test]
async fn usage_of_a_key_is_by_hour_or_by_day() {
    let (manager, [one, ..]) = used().await;
    let counts = manager.usage_of(one, NOW, at(3 * DAY)).await.unwrap();
    let hours = [(0, "accepted", 2), (5 * HOUR, "accepted", 1), (26 * HOUR, "accepted", 4)];
    assert_eq!(brief(&counts), hours);
    assert_eq!(brief(&UsageCount::by_day(&counts)), [(0, "accepted", 3), (DAY, "accepted", 4)]);
    // From the beginning of the first hour, up to but without the last.
    let some = manager.usage_of(one, at(0), at(26 * HOUR)).await.unwrap();
    assert_eq!(brief(&some), hours[..2]);
    let some = manager.usage_of(one, at(1), at(26 * HOUR + 1)).await.unwrap();
    assert_eq!(brief(&some), hours[1..]);
    assert_eq!(manager.usage_of(one, at(DAY), at(0)).await.unwrap(), []);
}

#[tokio::test]
async fn usage_of_an_owner_is_that_of_all_their_keys() {
    let (manager, [one, other, anothers]) = used().await;
    let query = of(None, Some("user-1"));
    let hours = [(0, "accepted", 2), (5 * HOUR, "accepted", 2), (26 * HOUR, "accepted", 4)];
    assert_eq!(brief(&manager.usage(&query).await.unwrap()), hours);
    let lineages: Vec<_> = manager.busiest(&query, 10).await.unwrap();
    assert_eq!(
        lineages.iter().map(|l| (l.lineage, l.count)).collect::<Vec<_>>(),
        [(one, 7), (other, 1)]
    );
    let lineages = manager.busiest(&all(), 2).await.unwrap();
    let lineages: Vec<_> = lineages.iter().map(|l| (l.lineage, l.count)).collect();
    assert_eq!(lineages, [(one, 7), (anothers, 5)]);
    let sum: u64 = manager.usage(&all()).await.unwrap().iter().map(|usage| usage.count).sum();
    assert_eq!(sum, 13);
    for limit in [0, 1_001] {
        assert!(matches!(manager.busiest(&all(), limit).await, Err(ManageError::Invalid(_))));
    }
}

#[tokio::test]
async fn usage_of_a_deleted_key_is_told_until_it_is_purged() {
    let (manager, [one, ..]) = used().await;
    let before = manager.usage_of(one, NOW, at(3 * DAY)).await.unwrap();
    manager.delete(one).await.unwrap();
    for handle in [manager.clone(), manager.for_owner("user-1")] {
        assert_eq!(handle.usage_of(one, NOW, at(3 * DAY)).await.unwrap(), before);
    }
    let others = manager.for_owner("user-2").usage_of(one, NOW, at(3 * DAY)).await;
    assert!(matches!(others, Err(ManageError::NotFound)));
    assert_eq!(manager.purge(at(3 * DAY)).await.unwrap(), 1);
    let purged = manager.usage_of(one, NOW, at(3 * DAY)).await;
    assert!(matches!(purged, Err(ManageError::NotFound)));
}

#[tokio::test]
async fn an_owner_learns_nothing_of_others() {
    let (manager, [one, _, anothers]) = used().await;
    let mine = manager.for_owner("user-2");
    let refused = mine.usage_of(one, NOW, at(3 * DAY)).await;
    assert!(matches!(refused, Err(ManageError::NotFound)));
    let counts = mine.usage_of(anothers, NOW, at(3 * DAY)).await.unwrap();
    assert_eq!(brief(&counts), [(0, "accepted", 5)]);
    assert_eq!(mine.usage(&all()).await.unwrap(), counts);
    let lineages = mine.busiest(&all(), 10).await.unwrap();
    assert_eq!(lineages.iter().map(|l| (l.lineage, l.count)).collect::<Vec<_>>(), [(anothers, 5)]);
    // Asked for by name: a key, an owner, and an owner who cannot be.
    for query in [
        of(Some(one), None),
        of(None, Some("user-1")),
        of(Some(one), Some("user-1")),
        of(None, Some("user-2\0")),
    ] {
        assert_eq!(mine.usage(&query).await.unwrap(), [], "{query:?}");
        assert_eq!(mine.busiest(&query, 10).await.unwrap(), [], "{query:?}");
    }
    let nobody = mine.for_owner("user-1");
    assert_eq!(nobody.usage(&all()).await.unwrap(), []);
    assert_eq!(nobody.busiest(&all(), 10).await.unwrap(), []);
}
