//! Lists of some of the keys: whatever is asked for, they are those of [`KeyQuery::matches`].

use proptest::{
    collection::vec, option, prelude::*, sample::select, strategy::ValueTree,
    test_runner::TestRunner,
};
use tokio::{runtime::Handle, task::block_in_place};
use tower_api_key::{
    KeyId, Scopes,
    key::{KeyRecord, KeyStatus, LegacyHash},
    store::{Changes, KeyQuery, KeyRepository, MemoryStore},
};

use super::{at, digest, record};

/// Texts that are the same, or begin the same, to databases that are not exact.
const TEXTS: [&str; 16] = [
    "",
    " ",
    "anna",
    "Anna",
    "anna ",
    "anna  b",
    "ann",
    "änna",
    "a\u{308}nna",
    "a%",
    "a_",
    "%",
    "a\\",
    "日本語",
    "日本",
    "ANNA",
];
const SCOPES: [&str; 8] = ["a", "A", "a:b", "a:*", "a/b", "a:b:c", "\u{25}", "ab"];
const RECORDS: u64 = 120;

async fn ids(store: &impl KeyRepository, mut query: KeyQuery) -> Vec<KeyId> {
    let mut ids = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        ids.extend(page.items.iter().map(|record| record.id));
        let Some(next) = page.next else { return ids };
        query = query.after(next);
    }
}

pub(crate) async fn lists_are_what_was_asked_for(store: impl KeyRepository) {
    let memory = MemoryStore::new();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..Default::default()
    });
    let mut changes = Changes::default();
    for number in 1..=RECORDS {
        let mut record = any_record().new_tree(&mut runner).unwrap().current();
        (record.id, record.digest) = (super::record(number).id, digest(number));
        record.details.request = (number % 3 == 0).then(|| digest(number));
        changes.inserts.push(record);
    }
    store.apply(&changes).await.unwrap();
    memory.apply(&changes).await.unwrap();
    block_in_place(|| {
        let outcome = runner.run(&any_query(), |query| {
            let (found, expected) = Handle::current()
                .block_on(async { (ids(&store, query.clone()).await, ids(&memory, query).await) });
            prop_assert_eq!(found, expected);
            Ok(())
        });
        outcome.unwrap();
    });
}

/// A key without an end ends neither before a moment nor after, and one that was never used was not
/// used since.
pub(crate) async fn ends_and_last_uses_are_compared(store: impl KeyRepository) {
    type Filter = fn(&mut KeyQuery, tower_api_key::Timestamp);
    let times = [None, Some(at(10)), Some(at(20))];
    let mut changes = Changes::default();
    for (number, time) in (1..).zip(times) {
        let mut key = record(number);
        (key.expires_at, key.last_used_at) = (time, time);
        changes.inserts.push(key);
    }
    let mut replaced = record(4);
    replaced.expires_at = Some(at(20));
    replaced.details.rotation.retires_at = Some(at(10));
    changes.inserts.push(replaced);
    store.apply(&changes).await.unwrap();
    let filters: [(Filter, [&[u64]; 4]); 4] = [
        (|query, time| query.expires_before = Some(time), [&[], &[], &[4, 2], &[4, 3, 2]]),
        (|query, time| query.expires_after = Some(time), [&[4, 3, 2], &[4, 3, 2], &[3], &[]]),
        (
            |query, time| query.last_used_before = Some(time),
            [&[4, 1], &[4, 1], &[4, 2, 1], &[4, 3, 2, 1]],
        ),
        (|query, time| query.last_used_after = Some(time), [&[3, 2], &[3, 2], &[3], &[]]),
    ];
    for (filter, expected) in filters {
        for (time, expected) in [9, 10, 20, 21].into_iter().zip(expected) {
            let mut query = KeyQuery::new(1);
            filter(&mut query, at(time));
            let expected: Vec<_> = expected.iter().map(|number| record(*number).id).collect();
            assert_eq!(ids(&store, query.clone()).await, expected, "{query:?}");
        }
    }
}

/// No key has a NUL in it, which is no reason to fail.
pub(crate) async fn a_nul_is_found_nowhere(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    for query in [
        KeyQuery::new(1).with_owner("anna\0"),
        KeyQuery::new(1).with_prefix("key\0"),
        KeyQuery::new(1).with_prefix("\0"),
    ] {
        assert_eq!(ids(&store, query).await, []);
    }
}

fn any_record() -> impl Strategy<Value = KeyRecord> {
    let texts = (select(&TEXTS[..]), select(&TEXTS[..]), option::of(select(&TEXTS[..])));
    let scopes = vec(select(&SCOPES[..]), 0..4);
    let time = || option::of((0_i64..6).prop_map(at));
    let flags = (any::<[bool; 2]>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let rare = prop::bool::weighted(0.2);
    let times = (time(), time(), time(), time());
    let lineage = option::of(0_u64..4);
    let all = (texts, scopes, times, flags, rare, lineage);
    all.prop_map(|(texts, scopes, times, flags, legacy, lineage)| {
        let mut record = record(0);
        (record.name, record.start) = (texts.0.into(), texts.1.into());
        record.owner = texts.2.map(Into::into);
        record.scopes = Scopes::parse(scopes).unwrap();
        (record.details.not_before, record.expires_at, record.last_used_at) =
            (times.0, times.1, times.2);
        record.details.rotation.retires_at = times.3;
        record.disabled = flags.0 == [true; 2];
        record.details.revoked_at = flags.1.then(|| at(1));
        record.details.deleted_at = flags.2.then(|| at(1));
        record.details.rotation.lineage = lineage.map(|first| super::record(first).id);
        record.details.legacy_hash = legacy.then(|| LegacyHash::new("$2b$12$"));
        record
    })
}

fn any_query() -> impl Strategy<Value = KeyQuery> {
    let status = select(vec![
        KeyStatus::Revoked,
        KeyStatus::Disabled,
        KeyStatus::NotYetValid,
        KeyStatus::Expired,
        KeyStatus::Active,
    ]);
    let rarely = || prop::bool::weighted(0.2);
    (
        1_usize..40,
        option::of(select(&TEXTS[..])),
        option::of((status, (-1_i64..7).prop_map(at))),
        option::of(select(&SCOPES[..])),
        option::of(select(&TEXTS[..])),
        ((rarely(), 1..=RECORDS), vec(option::weighted(0.1, (-1_i64..7).prop_map(at)), 4)),
        (rarely(), option::weighted(0.3, 0_u64..5)),
        option::of(0..RECORDS + 2),
    )
        .prop_map(|(limit, owner, status, scope, prefix, (request, times), index, after)| {
            let (legacy, lineage) = index;
            let mut query = KeyQuery::new(limit);
            query.owner = owner.map(Into::into);
            query.status = status;
            query.scope = scope.map(|scope| scope.parse().unwrap());
            query.prefix = prefix.map(Into::into);
            query.request = request.0.then(|| digest(request.1));
            query.legacy = legacy;
            query.lineage = lineage.map(|first| record(first).id);
            (query.expires_before, query.expires_after) = (times[0], times[1]);
            (query.last_used_before, query.last_used_after) = (times[2], times[3]);
            query.after = after.map(|number| record(number).id);
            query
        })
}
