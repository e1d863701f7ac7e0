//! Requests that are done once.

use tokio::task::JoinSet;

use super::{at, digest, record, stored};
use crate::{
    KeyId,
    credits::Balance,
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyRepository, KeyUpdate, RequestRecord},
};

fn request(lineage: u64, number: u64) -> RequestRecord {
    RequestRecord::new(record(lineage).id, digest(number), "top_up", record(lineage).id)
}

fn changes(requests: impl IntoIterator<Item = RequestRecord>) -> Changes {
    Changes::default().with_requests(requests.into_iter().collect())
}

async fn found(store: &impl KeyRepository, lineage: u64, number: u64) -> Option<RequestRecord> {
    store.request_log().unwrap().request(record(lineage).id, &digest(number)).await.unwrap()
}

pub async fn requests_read_back_equal(store: impl KeyRepository) {
    let mut full = request(1, 1);
    (full.act, full.key, full.amount) = ("deduct".into(), record(2).id, i64::MAX as u64);
    full.actor = Some("Zoë's “shop”, 日本語 🦀".into());
    full.result = r#"{"amount":9007199254740993,"quote":"'\"\\"}"#.into();
    for request in [full, request(1, 2), request(2, 1)] {
        let before = store.balance_store().unwrap().balances(&[]).await.unwrap().now;
        assert_eq!(store.apply(&changes([request.clone()])).await.unwrap(), ApplyOutcome::Done);
        let mut read = store
            .request_log()
            .unwrap()
            .request(request.lineage, &request.request)
            .await
            .unwrap()
            .unwrap();
        // The time is the store's.
        assert!(
            before <= read.at
                && read.at <= store.balance_store().unwrap().balances(&[]).await.unwrap().now
        );
        read.at = request.at;
        assert_eq!(read, request);
    }
    for (lineage, number) in [(2, 2), (3, 1)] {
        assert_eq!(found(&store, lineage, number).await, None);
    }
}

/// A request that is there already undoes everything; so does one that is there twice.
pub async fn a_request_is_done_once(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    let balance = Balance::new(10, None, at(0));
    let first = BalanceUpdate {
        lineage: record(1).id,
        balance: balance.clone(),
        expected: None,
        due: None,
    };
    let once = changes([request(1, 1)]).with_balances(vec![first]);
    assert_eq!(store.apply(&once).await.unwrap(), ApplyOutcome::Done);
    let first = found(&store, 1, 1).await;

    let mut more = balance.clone();
    (more.remaining, more.revision) = (20, 1);
    let mut renamed = record(1);
    (renamed.name, renamed.revision) = ("renamed".into(), renamed.revision + 1);
    let all = |requests: Vec<RequestRecord>| {
        changes(requests)
            .with_inserts(vec![record(2)])
            .with_updates(vec![KeyUpdate::new(&record(1), renamed.clone())])
            .with_balances(vec![BalanceUpdate {
                lineage: record(1).id,
                balance: more.clone(),
                expected: Some(0),
                due: None,
            }])
    };
    let mut other = request(1, 1);
    (other.act, other.amount) = ("deduct".into(), 9);
    for requests in [
        vec![request(1, 1)],
        vec![other],
        vec![request(1, 2), request(1, 1)],
        vec![request(1, 3), request(1, 3)],
    ] {
        assert_eq!(store.apply(&all(requests)).await.unwrap(), ApplyOutcome::Stale);
        assert!(store.get(record(2).id).await.unwrap().is_none());
        assert_eq!(stored(&store, record(1).id).await, record(1));
        let balances = store.balance_store().unwrap().balances(&[record(1).id]).await.unwrap();
        assert_eq!(balances.of(record(1).id), Some(&balance));
        assert_eq!(found(&store, 1, 1).await, first);
        assert_eq!((found(&store, 1, 2).await, found(&store, 1, 3).await), (None, None));
    }
    // The same of another lineage is another one.
    assert_eq!(store.apply(&all(vec![request(2, 1)])).await.unwrap(), ApplyOutcome::Done);
}

pub async fn one_of_many_same_requests_is_done(store: impl KeyRepository + Clone) {
    let mut applied = JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        let mut request = request(1, 1);
        request.amount = number;
        applied.spawn(async move { (store.apply(&changes([request])).await.unwrap(), number) });
    }
    let results = applied.join_all().await;
    let done: Vec<_> =
        results.into_iter().filter(|(update, _)| *update == ApplyOutcome::Done).collect();
    assert_eq!(done.len(), 1);
    assert_eq!(found(&store, 1, 1).await.unwrap().amount, done[0].1);
}

/// Neither with their keys nor for being old by another clock.
pub async fn requests_outlive_a_purge(store: impl KeyRepository) {
    let mut ended = record(1);
    ended.details.revoked_at = Some(at(1));
    store.insert(&ended).await.unwrap();
    store.apply(&changes((0..3).map(|number| request(1, number)))).await.unwrap();
    for owner in [None, Some("anna".into())] {
        store.purge(at(i64::MAX), owner.as_ref()).await.unwrap();
    }
    assert!(store.get(ended.id).await.unwrap().is_none());
    for number in 0..3 {
        assert!(found(&store, 1, number).await.is_some());
    }
    let nobody = KeyId::from_bytes([0; 16]);
    assert!(store.request_log().unwrap().request(nobody, &digest(1)).await.unwrap().is_none());
}
