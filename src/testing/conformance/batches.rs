//! Finding many keys at once.

use tokio::task::JoinSet;

use super::{at, digest, full, record};
use crate::{
    key::KeyDigest,
    store::{ApplyOutcome, KeyRepository},
};

/// More than a statement takes, in an order that is no index's, with unknown ones among them.
pub async fn many_are_found_in_the_order_asked_for(store: impl KeyRepository) {
    assert!(store.find_many(&[]).await.is_empty());
    let key = |number: u64| if number == 5 { full(number) } else { record(number) };
    for number in 0..150 {
        store.insert(&key(number)).await.unwrap();
    }
    let numbers: Vec<u64> = (0..300).map(|number| number * 7 % 300).collect();
    let digests: Vec<_> = numbers.iter().copied().map(digest).collect();
    for count in [1, 2, 300] {
        let answers = store.find_many(&digests[..count]).await;
        assert_eq!(answers.len(), count);
        for (number, answer) in numbers.iter().zip(answers) {
            let expected = (*number < 150).then(|| key(*number));
            assert_eq!(answer.unwrap().as_deref(), expected.as_ref(), "{number} of {count}");
        }
    }
}

/// More than there are connections. What stands for a lookup of its own may be a part of a statement.
pub async fn each_of_many_lookups_at_once_has_its_own_answer(store: impl KeyRepository + Clone) {
    let key = |number: u64| if number == 5 { full(number) } else { record(number) };
    for number in 0..100 {
        store.insert(&key(number)).await.unwrap();
    }
    let mut lookups = JoinSet::new();
    for number in (0..200).map(|number| number * 7 % 200) {
        let store = store.clone();
        lookups.spawn(async move { (number, store.find(&digest(number)).await) });
    }
    for (number, answer) in lookups.join_all().await {
        let expected = (number < 100).then(|| key(number));
        assert_eq!(answer.unwrap().as_deref(), expected.as_ref(), "{number}");
    }
}

pub async fn each_of_the_same_digests_has_an_answer(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    let digests = [2, 1, 1, 2, 1].map(digest);
    let answers = store.find_many(&digests).await;
    let found: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().is_some()).collect();
    assert_eq!(found, [false, true, true, false, true]);
}

/// No collation, no padding: of digests that differ in the case of a letter, each has its own key.
pub async fn many_digests_match_exactly(store: impl KeyRepository) {
    let texts = [
        *b"A digest that happens to be text",
        *b"a digest that happens to be text",
        *b"A digest that happens to be tex ",
        *b"A digest that happens to be tex\0",
        *b"\xc3\xa9 digest that happens to be t  ",
    ];
    let digests = texts.map(KeyDigest::from_bytes);
    for (number, digest) in (0..).zip(digests).step_by(2) {
        let mut record = record(number);
        record.digest = digest;
        store.insert(&record).await.unwrap();
    }
    for (number, answer) in (0_u64..).zip(store.find_many(&digests).await) {
        let id = answer.unwrap().map(|record| record.id);
        assert_eq!(id, (number % 2 == 0).then(|| record(number).id), "{number}");
    }
}

pub async fn deleted_keys_are_not_among_many(store: impl KeyRepository) {
    let (live, mut deleted) = (record(1), record(2));
    deleted.details.deleted_at = Some(at(1));
    deleted.revision += 1;
    for number in [1, 2] {
        store.insert(&record(number)).await.unwrap();
    }
    assert_eq!(store.update(&record(2), &deleted).await.unwrap(), ApplyOutcome::Done);
    let mut answers = store.find_many(&[digest(1), digest(2)]).await;
    assert!(answers.pop().unwrap().unwrap().is_none());
    assert_eq!(answers.pop().unwrap().unwrap().as_deref(), Some(&live));
}
