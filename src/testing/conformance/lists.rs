//! Pages of keys.

use super::{at, full, record, stored};
use crate::{
    KeyId,
    store::{ApplyOutcome, KeyPage, KeyQuery, KeyRepository},
};

fn ids(page: &KeyPage) -> Vec<KeyId> {
    page.items.iter().map(|record| record.id).collect()
}

fn id(number: u64) -> KeyId {
    record(number).id
}

/// All pages, one after the other.
async fn walk(store: &impl KeyRepository, mut query: KeyQuery) -> Vec<Vec<KeyId>> {
    let mut pages = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        pages.push(ids(&page));
        match page.next {
            Some(next) => query = query.after(next),
            None => return pages,
        }
    }
}

async fn insert(store: &impl KeyRepository, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        store.insert(&record(number)).await.unwrap();
    }
}

async fn delete(store: &impl KeyRepository, number: u64) {
    let old = stored(store, id(number)).await;
    let mut deleted = old.clone();
    deleted.details.deleted_at = Some(at(2_000));
    deleted.revision += 1;
    assert_eq!(store.update(&old, &deleted).await.unwrap(), ApplyOutcome::Done);
}

/// By id and not by when they came or what they are called.
pub async fn the_youngest_come_first(store: impl KeyRepository) {
    assert_eq!(walk(&store, KeyQuery::new(10)).await, [vec![]]);
    let greatest = KeyId::from_bytes([0xff; 16]);
    let least = KeyId::from_bytes([0; 16]);
    insert(&store, [0x80, 2, 0x7f, 0x1_00, 3]).await;
    for (id, number) in [(greatest, 1_001), (least, 1_002)] {
        let mut record = record(number);
        record.id = id;
        store.insert(&record).await.unwrap();
    }
    let all = [greatest, id(0x1_00), id(0x80), id(0x7f), id(3), id(2), least];
    assert_eq!(walk(&store, KeyQuery::new(10)).await, [all]);
}

pub async fn pages_follow_one_another(store: impl KeyRepository) {
    insert(&store, 1..=7).await;
    let all: Vec<_> = (1..=7).rev().map(id).collect();
    for limit in 1..=8 {
        let pages = walk(&store, KeyQuery::new(limit)).await;
        // A full last page is the last all the same.
        let expected: Vec<_> = all.chunks(limit).map(<[KeyId]>::to_vec).collect();
        assert_eq!(pages, expected, "pages of {limit}");
    }
    assert_eq!(walk(&store, KeyQuery::new(usize::MAX)).await, [all]);

    // A cursor need not be a key that is still there.
    let gap = store.list(&KeyQuery::new(2).after(id(100))).await.unwrap();
    assert_eq!(ids(&gap), [id(7), id(6)]);
    let end = store.list(&KeyQuery::new(2).after(id(1))).await.unwrap();
    assert_eq!((ids(&end), end.next), (vec![], None));
}

/// Every key that is there from start to end appears once.
pub async fn pages_hold_while_keys_come_and_go(store: impl KeyRepository) {
    insert(&store, (10..=100).step_by(10)).await;
    let first = store.list(&KeyQuery::new(3)).await.unwrap();
    assert_eq!(ids(&first), [id(100), id(90), id(80)]);

    // A younger one, one within the page that was read, one to come; the cursor itself goes.
    insert(&store, [110, 95, 75]).await;
    delete(&store, 80).await;
    delete(&store, 60).await;
    let second = store.list(&KeyQuery::new(3).after(first.next.unwrap())).await.unwrap();
    assert_eq!(ids(&second), [id(75), id(70), id(50)]);

    insert(&store, [5]).await;
    let rest = walk(&store, KeyQuery::new(3).after(second.next.unwrap())).await;
    assert_eq!(rest.concat(), [40, 30, 20, 10, 5].map(id));
}

pub async fn owners_are_told_apart(store: impl KeyRepository) {
    // As a sloppy collation would not.
    let owners = [None, Some("anna"), Some("Anna"), Some("anna "), Some("änna"), Some("")];
    for (number, owner) in (1_u64..).zip(owners.iter().cycle().take(owners.len() * 5)) {
        let mut record = record(number);
        record.owner = owner.map(Into::into);
        store.insert(&record).await.unwrap();
    }
    for (place, owner) in (1_u64..).zip(owners) {
        let Some(owner) = owner else { continue };
        let pages = walk(&store, KeyQuery::new(2).with_owner(owner)).await;
        let theirs = (0..5).rev().map(|round| id(place + round * owners.len() as u64));
        let theirs: Vec<_> = theirs.collect();
        let expected: Vec<_> = theirs.chunks(2).map(<[KeyId]>::to_vec).collect();
        assert_eq!(pages, expected, "owner {owner:?}");
    }
    assert_eq!(walk(&store, KeyQuery::new(2).with_owner("nobody")).await, [vec![]]);
    assert_eq!(walk(&store, KeyQuery::new(100)).await[0].len(), owners.len() * 5);
}

/// Deleted ones are not, and do not count towards the limit. Revoked and disabled ones are.
pub async fn deleted_keys_are_not_listed(store: impl KeyRepository) {
    for number in 1..=6 {
        let mut record = full(number);
        record.details.deleted_at = (number % 2 == 0).then(|| at(1));
        store.insert(&record).await.unwrap();
    }
    let owner = full(1).owner.unwrap();
    for query in [KeyQuery::new(2), KeyQuery::new(2).with_owner(owner)] {
        assert_eq!(walk(&store, query).await, [vec![id(5), id(3)], vec![id(1)]]);
    }
}
