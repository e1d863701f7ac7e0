//! Counts by the hour: how they are kept, and what is read of them.

use std::time::Duration;

use tokio::time::timeout;
use tower_api_key::{
    OwnerId,
    store::{KeyRepository, KeyStore, RedisStore, StoreErrorKind, UsageLog},
    usage::UsageQuery,
};

use super::{HOUR, Prefix, counted, run, server::OwnServer, texts};
use crate::conformance::{at, record};

fn everything() -> UsageQuery {
    UsageQuery::new(at(i64::MIN), at(i64::MAX))
}

/// As Redis counts, and no further.
#[tokio::test]
async fn counts_are_exact_and_do_not_overflow() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let most = i64::MAX.unsigned_abs();
    let mut expected = 0_u64;
    for count in [(1 << 53) + 1, 999_999_999, 1, 0, most >> 1, u64::MAX, 1, 0] {
        store.record_usage(&[counted(1, 0, count)]).await.unwrap();
        expected = expected.saturating_add(count).min(most);
        assert_eq!(store.usage(&everything()).await.unwrap()[0].count, expected, "{count}");
    }
    // Sums of several lineages have all of 64 bits.
    store.record_usage(&[counted(2, 0, most), counted(3, 0, 1)]).await.unwrap();
    assert_eq!(store.usage(&everything()).await.unwrap()[0].count, u64::MAX);
    store.record_usage(&[counted(4, 0, 1)]).await.unwrap();
    assert_eq!(store.usage(&everything()).await.unwrap()[0].count, u64::MAX);
}

/// Redis is asked for a few hundred at a time, whatever there is besides what was asked for.
#[tokio::test]
async fn a_query_reads_what_it_asks_for() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (hours, lineages) = (100, 30);
    let usage = (0..hours).flat_map(|hour| {
        (0..lineages).map(move |lineage| {
            let owner = Some(if lineage < 3 { "anna".into() } else { "bert".into() });
            counted(lineage, hour, 1).with_owner(owner)
        })
    });
    store.record_usage(&usage.collect::<Vec<_>>()).await.unwrap();
    let calls = |command: &str| {
        let calls = server.info(&["INFO", "commandstats"], &format!("cmdstat_{command}"));
        calls.strip_prefix("calls=").unwrap().split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let query = |since: i64, until: i64, lineage: Option<u64>, owner: Option<&str>| {
        let mut query = UsageQuery::new(at(since * HOUR), at(until * HOUR));
        query.lineage = lineage.map(|lineage| record(lineage).id);
        query.owner = owner.map(Into::into);
        query
    };
    for (query, steps, sum) in [
        (everything(), 7, 3_000),
        (query(10, 11, None, None), 1, 30),
        (query(0, 16, None, None), 1, 480),
        (query(0, 20, None, None), 2, 600),
        (query(0, 1_000_000, Some(1), None), 1, 100),
        (query(0, 100, Some(1), Some("anna")), 1, 100),
        (query(0, 100, Some(1), Some("bert")), 1, 0),
        (query(0, 100, None, Some("anna")), 1, 300),
        (query(0, 100, None, Some("nobody")), 1, 0),
        (query(5, 5, None, None), 1, 0),
    ] {
        let before = calls("evalsha");
        let counts = store.usage(&query).await.unwrap();
        assert_eq!(counts.iter().map(|usage| usage.count).sum::<u64>(), sum, "{query:?}");
        assert_eq!(calls("evalsha") - before, steps, "{query:?}");
    }
    assert_eq!(store.forget_usage(at(50 * HOUR)).await.unwrap(), 1_500);
    let before = calls("evalsha");
    assert_eq!(store.forget_usage(at(50 * HOUR)).await.unwrap(), 0);
    assert_eq!(calls("evalsha") - before, 1);
    assert_eq!(store.forget_usage(at(i64::MAX)).await.unwrap(), 1_500);
    assert_eq!(calls("evalsha") - before, 5);
    assert_eq!(store.usage(&everything()).await.unwrap(), []);
}

/// More hours than one step looks at, in most of which there is nothing of an owner's.
#[tokio::test]
async fn long_times_are_looked_through_in_steps() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let usage = (0..1_600).map(|hour| {
        let owner = (hour % 1_000 == 599).then(|| "anna".into());
        counted(u64::try_from(hour % 7).unwrap(), hour, 1).with_owner(owner)
    });
    store.record_usage(&usage.collect::<Vec<_>>()).await.unwrap();
    let hours = |owner: Option<OwnerId>, lineage: Option<u64>| {
        let (store, mut query) = (&store, everything());
        (query.owner, query.lineage) = (owner, lineage.map(|lineage| record(lineage).id));
        async move {
            let counts = store.usage(&query).await.unwrap();
            counts.iter().map(|usage| usage.hour.as_unix_millis() / HOUR).collect::<Vec<_>>()
        }
    };
    assert_eq!(hours(Some("anna".into()), None).await, [599, 1_599]);
    assert_eq!(hours(None, None).await, (0..1_600).collect::<Vec<_>>());
    assert_eq!(hours(None, Some(3)).await, (3..1_600).step_by(7).collect::<Vec<_>>());
    assert_eq!(store.forget_usage(at(i64::MAX)).await.unwrap(), 1_600);
    assert_eq!(prefix.keys(), [prefix.key("schema")]);
}

/// Less than was counted is never passed off as all of it. Keys have nothing to do with it.
#[tokio::test]
async fn lost_usage_is_corrupt() {
    for part in ["usage", "usage_hours", "usage_lines"] {
        let Some(prefix) = Prefix::new() else { return };
        let store = prefix.open().await;
        store.insert(&record(1)).await.unwrap();
        store.record_usage(&[counted(1, 0, 1), counted(1, 1, 1)]).await.unwrap();
        let mut other = prefix.connect();
        for of_other_type in [false, true] {
            let _: u64 = run(&mut other, &["DEL", &prefix.key(part)]);
            if of_other_type {
                let _: () = run(&mut other, &["SET", &prefix.key(part), "theirs"]);
            }
            let before = prefix.contents();
            for error in [
                store.usage(&everything()).await.unwrap_err(),
                store.busiest(&everything(), 1).await.unwrap_err(),
                store.record_usage(&[counted(2, 0, 1)]).await.unwrap_err(),
                store.forget_usage(at(i64::MAX)).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{part}: {error:?}");
                assert!(of_other_type || texts(&error).contains("evicted"), "{error:?}");
            }
            assert_eq!(prefix.contents(), before);
        }
        assert!(store.find(&record(1).digest).await.unwrap().is_some());
        assert!(store.find(&record(2).digest).await.unwrap().is_none());
        store.insert(&record(2)).await.unwrap();
        store.purge(at(0), None).await.unwrap();
    }
}

#[tokio::test]
async fn rows_that_are_not_counts_are_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.record_usage(&[counted(1, 0, 1)]).await.unwrap();
    let mut other = prefix.connect();
    let (usage, field) = (prefix.key("usage"), format!("0:{}", record(1).id));
    for bad in ["many", "accepted=-1", "accepted=1=2", "accepted=many", "accepted=1 many", "", " "]
    {
        let _: u64 = run(&mut other, &["HSET", &usage, &field, bad]);
        let error = store.usage(&everything()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{bad:?}");
        if bad.trim().is_empty() {
            continue;
        }
        let before = prefix.contents();
        let batch = [counted(2, 0, 1), counted(1, 0, 1)];
        let error = store.record_usage(&batch).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{bad:?}");
        assert_eq!(prefix.contents(), before);
    }
    // An outcome of a later version of this crate is not passed over.
    let _: u64 = run(&mut other, &["HSET", &usage, &field, "accepted=1 unheard_of=2"]);
    assert_eq!(store.usage(&everything()).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    store.record_usage(&[counted(1, 0, 1)]).await.unwrap();
    let text: String = run(&mut other, &["HGET", &usage, &field]);
    let mut parts: Vec<_> = text.split(' ').collect();
    parts.sort_unstable();
    assert_eq!(parts, ["accepted=2", "unheard_of=2"]);
    let _: u64 = run(&mut other, &["HDEL", &usage, &field]);
    let _: u64 = run(&mut other, &["HSET", &usage, "0:somebody", "accepted=1"]);
    assert_eq!(store.usage(&everything()).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
}

/// An hour of another program must not lead around in a circle.
#[tokio::test]
async fn hours_that_lead_astray_are_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let usage: Vec<_> = (0..500).map(|hour| counted(1, hour, 1)).collect();
    store.record_usage(&usage).await.unwrap();
    let mut of_lineage = everything();
    of_lineage.lineage = Some(record(1).id);
    assert_eq!(store.usage(&of_lineage).await.unwrap().len(), 500);
    let (mut other, hours) = (prefix.connect(), prefix.key("usage_hours"));
    let last = (499 * HOUR).to_string();
    for astray in ["-1", "today"] {
        let _: u64 = run(&mut other, &["ZREMRANGEBYSCORE", &hours, &last, &last]);
        let _: u64 = run(&mut other, &["ZADD", &hours, &last, astray]);
        let usage = timeout(Duration::from_mins(1), store.usage(&of_lineage)).await.unwrap();
        assert_eq!(usage.unwrap_err().kind(), StoreErrorKind::Corrupt, "{astray}");
    }
}
