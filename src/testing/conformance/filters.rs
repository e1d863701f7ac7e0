//! Lists of some of the keys: whatever is asked for, they are those of [`KeyQuery::matches`].

use super::{at, digest, random::Random, record};
use crate::{
    KeyId, Scopes, Timestamp,
    key::{KeyRecord, KeyStatus, LegacyHash},
    store::{Changes, KeyQuery, KeyRepository, MemoryStore},
};

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

pub async fn lists_are_what_was_asked_for(store: impl KeyRepository) {
    let mut random = Random::new(2);
    let memory = MemoryStore::new();
    let mut changes = Changes::default();
    changes.inserts.extend((1..=RECORDS).map(|number| any_record(&mut random, number)));
    store.apply(&changes).await.unwrap();
    memory.apply(&changes).await.unwrap();
    let mut found = 0;
    for _ in 0..300 {
        let query = any_query(&mut random);
        let expected = ids(&memory, query.clone()).await;
        found += expected.len();
        assert_eq!(ids(&store, query.clone()).await, expected, "{query:?}");
    }
    assert!(found > 300, "{found} keys in all lists");
}

/// A key without an end ends neither before a moment nor after, and one that was never used was not
/// used since.
pub async fn ends_and_last_uses_are_compared(store: impl KeyRepository) {
    type Filter = fn(&mut KeyQuery, Timestamp);
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
pub async fn a_nul_is_found_nowhere(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    for query in [
        KeyQuery::new(1).with_owner("anna\0"),
        KeyQuery::new(1).with_prefix("key\0"),
        KeyQuery::new(1).with_prefix("\0"),
    ] {
        assert_eq!(ids(&store, query).await, []);
    }
}

fn any_record(random: &mut Random, number: u64) -> KeyRecord {
    let time = |random: &mut Random| random.maybe(|random| at(random.below(6).cast_signed()));
    let text = |random: &mut Random| random.one_of(&TEXTS);
    let mut record = record(number);
    (record.name, record.start) = (text(random).into(), text(random).into());
    record.owner = random.maybe(text).map(Into::into);
    let scopes: Vec<&str> = random.several(4, |random| random.one_of(&SCOPES));
    record.scopes = Scopes::parse(scopes).unwrap();
    (record.expires_at, record.last_used_at) = (time(random), time(random));
    record.disabled = random.once_in(4);
    let details = &mut *record.details;
    details.not_before = time(random);
    details.rotation.retires_at = time(random);
    details.revoked_at = random.once_in(5).then(|| at(1));
    details.deleted_at = random.once_in(10).then(|| at(1));
    details.rotation.lineage = random.maybe(|random| id(random.below(4)));
    details.legacy_hash = random.once_in(5).then(|| LegacyHash::new("$2b$12$"));
    details.request = number.is_multiple_of(3).then(|| digest(number));
    record
}

fn any_query(random: &mut Random) -> KeyQuery {
    let time = |random: &mut Random| at(random.below(8).cast_signed() - 1);
    let rarely = |random: &mut Random| random.once_in(10).then(|| time(random));
    let text = |random: &mut Random| random.one_of(&TEXTS);
    let mut query = KeyQuery::new(1 + usize::try_from(random.below(39)).unwrap());
    query.owner = random.maybe(text).map(Into::into);
    query.status = random.maybe(|random| (random.one_of(&KeyStatus::ALL), time(random)));
    query.scope = random.maybe(|random| random.one_of(&SCOPES).parse().unwrap());
    query.prefix = random.maybe(text).map(Into::into);
    query.request = random.once_in(5).then(|| digest(1 + random.below(RECORDS)));
    query.legacy = random.once_in(5);
    query.lineage = random.once_in(3).then(|| id(random.below(5)));
    (query.expires_before, query.expires_after) = (rarely(random), rarely(random));
    (query.last_used_before, query.last_used_after) = (rarely(random), rarely(random));
    query.after = random.maybe(|random| id(random.below(RECORDS + 2)));
    query
}

fn id(number: u64) -> KeyId {
    record(number).id
}
