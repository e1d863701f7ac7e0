//! Balances of credits.

use std::{num::NonZeroU64, time::Duration};

use tokio::task::JoinSet;
use tower_api_key::{
    KeyId,
    credits::{Balance, Refill, RefillInterval},
    key::KeyRecord,
    nonzero,
    store::{
        ApplyOutcome, BalanceStore, BalanceUpdate, Changes, KeyRepository, KeyUpdate, RedisStore,
        StoreErrorKind,
    },
};

use super::{Prefix, indexed, run, texts};
use crate::conformance::{assert_duplicate, at, record};

/// A balance with everything set, and numbers that a double cannot tell apart.
fn large(revision: u64) -> Balance {
    let interval = RefillInterval::Seconds(nonzero!(3_600));
    let refill = Refill::new(NonZeroU64::MAX, interval);
    let mut balance = Balance::new(u64::MAX, Some(refill), at(-1));
    (balance.epoch, balance.revision) = (u64::MAX - 1, revision);
    balance
}

fn of(number: u64, balance: Balance, expected: Option<u64>) -> BalanceUpdate {
    BalanceUpdate { lineage: record(number).id, balance, expected, due: None }
}

async fn write(store: &RedisStore, balances: Vec<BalanceUpdate>) -> ApplyOutcome {
    store.apply(&Changes::default().with_balances(balances)).await.unwrap()
}

async fn read(store: &RedisStore, number: u64) -> Option<Balance> {
    let found = store.balances(&[record(number).id]).await.unwrap().items.pop();
    found.map(|(lineage, balance)| {
        assert_eq!(lineage, record(number).id);
        balance
    })
}

/// A key in the lineage of another one, revoked at this time.
fn in_lineage(number: u64, lineage: u64, revoked_at: i64) -> KeyRecord {
    let mut record = record(number);
    record.details.rotation.lineage = Some(crate::conformance::record(lineage).id);
    record.details.revoked_at = Some(at(revoked_at));
    record
}

#[tokio::test]
async fn numbers_are_exact() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let mut monthly = large(0);
    monthly.refill = monthly.refill.map(|refill| Refill::new(refill.amount, RefillInterval::Month));
    let plain = Balance::new(0, None, at(i64::MIN));
    for (number, balance) in [(1, large(u64::MAX - 1)), (2, monthly), (3, plain)] {
        assert_eq!(
            write(&store, vec![of(number, balance.clone(), None)]).await,
            ApplyOutcome::Done
        );
        assert_eq!(read(&store, number).await, Some(balance));
    }
    for stale in [Some(u64::MAX - 2), Some(u64::MAX), Some(0), None] {
        assert_eq!(write(&store, vec![of(1, large(u64::MAX), stale)]).await, ApplyOutcome::Stale);
    }
    let next = of(1, large(u64::MAX), Some(u64::MAX - 1));
    assert_eq!(write(&store, vec![next]).await, ApplyOutcome::Done);
    assert_eq!(read(&store, 1).await, Some(large(u64::MAX)));
}

/// What is refused is the last of it, and nothing before it was written.
#[tokio::test]
async fn a_refused_balance_leaves_no_trace() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&record(1)).await.unwrap();
    assert_eq!(write(&store, vec![of(1, large(5), None)]).await, ApplyOutcome::Done);
    let before = prefix.contents();
    let changes = |last: BalanceUpdate| {
        let mut revoked = record(1);
        (revoked.details.revoked_at, revoked.revision) = (Some(at(1)), revoked.revision + 1);
        let balances = vec![of(7, large(0), None), last];
        let updates = vec![KeyUpdate::new(&record(1), revoked)];
        Changes::default()
            .with_inserts(vec![indexed(2)])
            .with_updates(updates)
            .with_balances(balances)
    };
    for last in [of(1, large(6), None), of(1, large(6), Some(4)), of(2, large(6), Some(5))] {
        assert_eq!(store.apply(&changes(last)).await.unwrap(), ApplyOutcome::Stale);
        assert_eq!(prefix.contents(), before);
    }
    let mut duplicate = changes(of(1, large(6), Some(4)));
    duplicate.inserts.push(record(1));
    assert_duplicate(store.apply(&duplicate).await);
    assert_eq!(prefix.contents(), before);

    assert_eq!(store.apply(&changes(of(1, large(6), Some(5)))).await.unwrap(), ApplyOutcome::Done);
    assert_eq!((read(&store, 1).await, read(&store, 7).await), (Some(large(6)), Some(large(0))));
    let count: u64 = run(&mut prefix.connect(), &["HGET", &prefix.key("schema"), "balances"]);
    assert_eq!(count, 2);
}

/// More lineages than Redis is asked for at once, some of them twice and some without a balance.
#[tokio::test]
async fn many_balances_are_read_in_steps() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    assert!(store.balances(&[]).await.unwrap().items.is_empty());
    let balances = (0..600).filter(|number| number % 2 == 0);
    let balances = balances.map(|number| of(number, Balance::new(number, None, at(0)), None));
    assert_eq!(write(&store, balances.collect()).await, ApplyOutcome::Done);
    let lineages: Vec<KeyId> = (0..600).chain(0..10).map(|number| record(number).id).collect();
    let mut found = store.balances(&lineages).await.unwrap().items;
    found.sort_by_key(|(lineage, _)| *lineage);
    let found = found.into_iter().map(|(lineage, balance)| (lineage, balance.remaining));
    let expected = (0..300).map(|number| (record(2 * number).id, 2 * number));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Of many who take credits at once, none takes what another has taken.
#[tokio::test]
async fn credits_are_taken_once() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    assert_eq!(
        write(&store, vec![of(1, Balance::new(200, None, at(0)), None)]).await,
        ApplyOutcome::Done
    );
    let mut nodes = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        nodes.spawn(async move {
            let mut taken = 0;
            while let Some(old) = read(&store, 1).await.filter(|balance| balance.remaining > 0) {
                let mut new = old.clone();
                (new.remaining, new.revision) = (old.remaining - 1, old.revision + 1);
                let update = of(1, new, Some(old.revision));
                taken += u64::from(write(&store, vec![update]).await == ApplyOutcome::Done);
            }
            taken
        });
    }
    assert_eq!(nodes.join_all().await.iter().sum::<u64>(), 200);
}

/// A lineage is rotated, and its keys go one by one, the first of it not last.
#[tokio::test]
async fn a_balance_goes_with_the_last_key_of_its_lineage() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let mut first = record(1);
    first.details.revoked_at = Some(at(20));
    // 5 is in a lineage of its own, 6 in one whose first key is gone already.
    let mut alone = record(5);
    alone.details.revoked_at = Some(at(10));
    let inserts = vec![
        in_lineage(2, 1, 10),
        first,
        in_lineage(3, 1, 30),
        in_lineage(4, 1, 40),
        alone,
        in_lineage(6, 9, 30),
    ];
    let balances = [1, 5, 9].map(|number| of(number, large(number), None)).to_vec();
    let changes = Changes::default().with_inserts(inserts).with_balances(balances);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    for (before, purged, left) in [
        (10, 0, [true, true, true]),
        (11, 2, [true, false, true]),
        (21, 1, [true, false, true]),
        (31, 2, [true, false, false]),
        (41, 1, [false, false, false]),
    ] {
        assert_eq!(store.purge(at(before), None).await.unwrap(), purged, "{before}");
        for (number, is_left) in [1, 5, 9].into_iter().zip(left) {
            assert_eq!(read(&store, number).await.is_some(), is_left, "{before}: {number}");
        }
    }
    assert_eq!(prefix.keys(), [prefix.key("schema")]);
    // The lineage may begin anew.
    assert_eq!(write(&store, vec![of(1, large(0), None)]).await, ApplyOutcome::Done);
}

/// More balances than are looked at in one step, half of them of lineages that have no key.
#[tokio::test]
async fn many_balances_are_purged_in_steps() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let total = 1_500;
    let inserts = (0..total).filter(|number| number % 2 == 0).map(record);
    let balances = (0..total).map(|number| of(number, large(number), None));
    let changes =
        Changes::default().with_inserts(inserts.collect()).with_balances(balances.collect());
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.purge(at(i64::MAX), Some(&"nobody".into())).await.unwrap(), 0);
    let lineages: Vec<_> = (0..total).map(|number| record(number).id).collect();
    let mut left = store.balances(&lineages).await.unwrap().items;
    left.sort_by_key(|(lineage, _)| *lineage);
    let left = left.into_iter().map(|(_, balance)| balance.revision);
    assert_eq!(left.collect::<Vec<_>>(), (0..total).step_by(2).collect::<Vec<_>>());
    let count: u64 = run(&mut prefix.connect(), &["HGET", &prefix.key("schema"), "balances"]);
    assert_eq!(count, 750);
}

/// Whoever is told that a lineage has no balance may give it another one.
#[tokio::test]
async fn no_eviction_makes_a_balance_new() {
    for part in ["balances", "lines"] {
        let Some(prefix) = Prefix::new() else { return };
        let store = prefix.open().await;
        store.insert(&in_lineage(1, 7, 5)).await.unwrap();
        store.insert(&in_lineage(2, 7, 9)).await.unwrap();
        let both = [7, 8].map(|number| of(number, large(0), None)).to_vec();
        assert_eq!(write(&store, both).await, ApplyOutcome::Done);
        let _: u64 = run(&mut prefix.connect(), &["DEL", &prefix.key(part)]);
        let before = prefix.contents();

        let balance = |number, expected| {
            let balances = vec![of(number, large(1), expected)];
            Changes::default().with_balances(balances)
        };
        let mut errors = vec![
            store.apply(&balance(9, None)).await.unwrap_err(),
            store.balances(&[record(9).id]).await.unwrap_err(),
            store.purge(at(6), None).await.unwrap_err(),
        ];
        if part == "balances" {
            errors.push(store.apply(&balance(7, Some(0))).await.unwrap_err());
            errors.push(store.apply(&balance(7, None)).await.unwrap_err());
            errors.push(store.balances(&[record(7).id]).await.unwrap_err());
        }
        for error in errors {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{part}");
            assert!(texts(&error).contains("evicted"), "{error:?}");
        }
        assert_eq!(prefix.contents(), before);
    }
}

#[tokio::test]
async fn rows_that_are_not_balances_are_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    assert_eq!(write(&store, vec![of(1, large(0), None)]).await, ApplyOutcome::Done);
    let mut other = prefix.connect();
    let (balances, lineage) = (prefix.key("balances"), record(1).id.to_string());
    let good: String = run(&mut other, &["HGET", &balances, &lineage]);
    for (from, to) in [
        (&*good, ""),
        (&*good, "[]"),
        (r#""revision":"0""#, r#""revision":0"#),
        (r#""revision":"0""#, r#""revision":"-1""#),
        (r#""remaining":""#, r#""remaining":"-"#),
        (r#""epoch""#, r#""era""#),
        (r#""since":-1"#, r#""since":"yesterday""#),
        (r#""interval_seconds":3600"#, r#""interval":"year""#),
        (r#""next_refill_at":"#, r#""next_refill_at":[]"#),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        let _: u64 = run(&mut other, &["HSET", &balances, &lineage, &bad]);
        let error = store.balances(&[record(1).id]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{to}: {error:?}");
    }
    // A script sees no more of it than it has to know.
    for bad in ["{", "[]", "7", r#"{"revision":0}"#] {
        let _: u64 = run(&mut other, &["HSET", &balances, &lineage, bad]);
        let before = prefix.contents();
        let changes = Changes::default().with_balances(vec![of(1, large(1), Some(0))]);
        let error = store.apply(&changes).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{bad}: {error:?}");
        assert_eq!(prefix.contents(), before);
    }
    let _: u64 = run(&mut other, &["HSET", &balances, &lineage, &good]);
    assert_eq!(read(&store, 1).await, Some(large(0)));
}

/// A balance whose refill is due is as it was written, whatever the time.
#[tokio::test]
async fn a_store_refills_nothing() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let interval = RefillInterval::Seconds(nonzero!(1));
    let refill = Refill::new(NonZeroU64::MIN, interval);
    let start = at(0).saturating_add(Duration::from_secs(1));
    let mut balance = Balance::new(5, Some(refill), start);
    balance.remaining = 0;
    assert_eq!(write(&store, vec![of(1, balance.clone(), None)]).await, ApplyOutcome::Done);
    assert_eq!(read(&store, 1).await, Some(balance));
}
