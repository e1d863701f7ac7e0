//! Lists by every filter, and random changes, against the store in memory.

use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestRunner};
use tokio::{runtime::Handle, task::block_in_place};
use tower_api_key::{
    KeyId, OwnerId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord, KeyStatus, LegacyHash},
    store::{
        ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyUpdate, MemoryStore, RedisStore,
        StoreErrorKind,
    },
};

use super::{Prefix, indexed, request, run, server::OwnServer};
use crate::conformance::{at, digest, record};

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    Apply { inserts: Vec<KeyRecord>, updates: Vec<(KeyRecord, Freshness)> },
    List(KeyQuery),
    Purge(Timestamp, Option<OwnerId>),
}

/// Whether an update knows the latest revision.
#[derive(Clone, Copy, Debug)]
enum Freshness {
    Latest,
    Stale,
}

/// From so few values that they meet.
fn any_key() -> impl Strategy<Value = KeyRecord> {
    let ids = (0_u64..12, 0_u64..16, option::weighted(0.3, 0_u64..6));
    let texts = (any_owner(), select(vec!["", "a", "ab", "Ab", "b"]), select(vec!["", "ab", "k_"]));
    let scopes = vec(select(vec!["a:read", "a:*", "b"]), 0..3);
    let time = || option::weighted(0.3, any_time());
    let times = (time(), time(), time(), time(), time());
    (ids, texts, scopes, times, any::<[bool; 2]>()).prop_map(
        |(ids, texts, scopes, times, flags)| {
            let mut key = record(ids.0);
            key.digest = digest(ids.1);
            key.owner = texts.0;
            (key.name, key.start) = (texts.1.into(), texts.2.into());
            key.scopes = Scopes::parse(scopes).unwrap();
            (key.details.not_before, key.expires_at, key.details.revoked_at) =
                (times.0, times.1, times.2);
            (key.details.deleted_at, key.details.rotation.retires_at) = (times.3, times.4);
            key.details.request = ids.2.map(request);
            key.details.legacy_hash = flags[0].then(|| LegacyHash::new("$2b$04$hash"));
            key.disabled = flags[1];
            key
        },
    )
}

fn any_owner() -> impl Strategy<Value = Option<OwnerId>> {
    select(vec![None, Some("anna"), Some("bert"), Some("")])
        .prop_map(|owner| owner.map(OwnerId::from))
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0_i64..6).prop_map(at)
}

fn any_query() -> impl Strategy<Value = KeyQuery> {
    use KeyStatus::{Active, Disabled, Expired, NotYetValid, Revoked};
    let statuses = select(vec![Active, Disabled, Expired, NotYetValid, Revoked]);
    let status = option::weighted(0.3, (statuses, any_time()));
    let scope = option::weighted(0.3, select(vec!["a:read", "a:*", "b", "c"]));
    let prefix = option::weighted(0.3, select(vec!["", "a", "A", "ab", "k", "b"]));
    let indexes = (any_owner(), option::weighted(0.1, 0_u64..6), proptest::bool::weighted(0.3));
    let pages = (option::weighted(0.3, 0_u64..12), 0_usize..5);
    (indexes, status, scope, prefix, pages).prop_map(|(indexes, status, scope, prefix, pages)| {
        let mut query = KeyQuery::new(pages.1);
        (query.owner, query.request, query.legacy) = (indexes.0, indexes.1.map(request), indexes.2);
        query.status = status;
        query.scope = scope.map(|scope| scope.parse().unwrap());
        query.prefix = prefix.map(Into::into);
        query.after = pages.0.map(|number| record(number).id);
        query
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let freshness = prop_oneof![9 => Just(Freshness::Latest), 1 => Just(Freshness::Stale)];
    let updates = vec((any_key(), freshness), 0..4);
    prop_oneof![
        4 => (vec(any_key(), 0..4), updates)
            .prop_map(|(inserts, updates)| Step::Apply { inserts, updates }),
        8 => any_query().prop_map(Step::List),
        1 => (any_time(), any_owner()).prop_map(|(before, owner)| Step::Purge(before, owner)),
    ]
}

/// Whether both stores do the same.
async fn take(step: &Step, redis: &RedisStore, memory: &MemoryStore) {
    match step {
        Step::Apply { inserts, updates } => {
            let mut changes = Changes::default().with_inserts(inserts.clone());
            for (record, freshness) in updates {
                let mut record = record.clone();
                let old = memory.get(record.id).await.unwrap();
                let expected = old.as_ref().map_or(0, |old| old.revision);
                if let Some(old) = old {
                    record.details.request = old.details.request;
                }
                let expected = match freshness {
                    Freshness::Latest => expected,
                    Freshness::Stale => expected + 1,
                };
                record.revision = expected;
                let mut new = record.clone();
                new.revision += 1;
                changes.updates.push(KeyUpdate::new(&record, new));
            }
            let outcomes = (redis.apply(&changes).await, memory.apply(&changes).await);
            let is_done = |outcome: Result<ApplyOutcome, _>| match outcome {
                Ok(update) => update == ApplyOutcome::Done,
                Err::<_, tower_api_key::store::StoreError>(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Duplicate, "{error:?}");
                    false
                }
            };
            // What is refused for two reasons may say either.
            assert_eq!(is_done(outcomes.0), is_done(outcomes.1), "{changes:?}");
            for number in 0..12 {
                let id = record(number).id;
                assert_eq!(redis.get(id).await.unwrap(), memory.get(id).await.unwrap());
            }
        }
        Step::List(query) => {
            let pages = (redis.list(query).await.unwrap(), memory.list(query).await.unwrap());
            assert_eq!(pages.0.items, pages.1.items, "{query:?}");
            assert_eq!(pages.0.next, pages.1.next, "{query:?}");
        }
        Step::Purge(before, owner) => {
            let purged = redis.purge(*before, owner.as_ref()).await.unwrap();
            assert_eq!(purged, memory.purge(*before, owner.as_ref()).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_does_what_memory_does() {
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() };
    block_in_place(|| {
        let outcome = TestRunner::new(config).run(&vec(any_step(), 1..40), |steps| {
            Handle::current().block_on(async {
                let Some(prefix) = Prefix::new() else { return };
                let (redis, memory) = (prefix.open().await, MemoryStore::new());
                for step in &steps {
                    take(step, &redis, &memory).await;
                }
            });
            Ok(())
        });
        outcome.unwrap();
    });
}

/// All pages, one after the other.
async fn walk(store: &RedisStore, mut query: KeyQuery) -> Vec<Vec<KeyId>> {
    let mut pages = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        pages.push(page.items.iter().map(|record| record.id).collect());
        match page.next {
            Some(next) => query = query.after(next),
            None => return pages,
        }
    }
}

/// Redis is asked for a few hundred keys at a time, and not once more than it takes.
#[tokio::test]
async fn what_matches_rarely_is_looked_for_in_steps() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let inserts = (0..1_000).map(|number| {
        let mut record = record(number);
        record.disabled = number % 400 == 3;
        record.owner = Some("anna".into());
        record
    });
    let changes = Changes::default().with_inserts(inserts.collect());
    store.apply(&changes).await.unwrap();
    let disabled = || KeyQuery::new(1).with_status(KeyStatus::Disabled, at(0));
    let expected = [[record(803).id], [record(403).id], [record(3).id]];
    assert_eq!(walk(&store, disabled()).await, expected);
    assert_eq!(walk(&store, disabled().with_owner("anna")).await, expected);
    let none = KeyQuery::new(10).with_scope("orders:read".parse().unwrap());
    assert_eq!(walk(&store, none.clone()).await, [vec![]]);

    let calls = || {
        let calls = server.info(&["INFO", "commandstats"], "cmdstat_evalsha");
        let calls = calls.strip_prefix("calls=").unwrap().split(',').next().unwrap();
        calls.parse::<u64>().unwrap()
    };
    for (query, expected) in [
        (KeyQuery::new(10), 1),
        (KeyQuery::new(249), 1),
        (KeyQuery::new(250), 2),
        (KeyQuery::new(10).with_owner("nobody").with_prefix("x"), 1),
        // Four whole steps, and one that finds that nothing is left.
        (none, 5),
        // 803 is in the first step, 403 in the third.
        (disabled(), 3),
        (KeyQuery::new(1).with_prefix("key"), 1),
    ] {
        let before = calls();
        store.list(&query).await.unwrap();
        assert_eq!(calls() - before, expected, "{query:?}");
    }
}

/// Rows of another program must not lead around in a circle, nor to the wrong key.
#[tokio::test]
async fn indexes_that_lead_astray_are_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let inserts = (0..300).map(indexed).collect();
    store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    let mut other = prefix.connect();
    let mut astray = KeyQuery::new(10);
    let to: KeyDigest = request(1);
    astray.request = Some(to);
    let id = record(2).id.to_string();
    let _: u64 = run(&mut other, &["HSET", &prefix.key("requests"), &to.to_hex(), &id]);
    assert_eq!(store.list(&astray).await.unwrap_err().kind(), StoreErrorKind::Corrupt);

    // The last of the first step.
    let (keys, place) = (prefix.key("keys"), record(50).id.to_string());
    let row: String = run(&mut other, &["HGET", &keys, &place]);
    let row = row.replace(&place, &record(300).id.to_string());
    let _: u64 = run(&mut other, &["HSET", &keys, &place, &row]);
    let circle = KeyQuery::new(10).with_prefix("nothing");
    assert_eq!(store.list(&circle).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
}
