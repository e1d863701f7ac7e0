//! Listing the digests of all keys.

use std::collections::BTreeSet;

use super::{at, digest, record};
use crate::{
    key::KeyDigest,
    store::{ApplyOutcome, Changes, KeyRepository},
};

/// The digests on all pages, as bytes.
async fn listed(store: &impl KeyRepository, limit: usize) -> BTreeSet<[u8; 32]> {
    let known = store.known_digests().unwrap();
    let (mut all, mut after, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let (digests, next) = known.page(after.clone(), limit).await.unwrap();
        all.extend(digests.iter().map(|digest| *digest.as_bytes()));
        assert!(next.is_none() || next != after, "a page leads to itself");
        pages += 1;
        assert!(pages < 10_000, "it never ends");
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

fn bytes(digests: impl IntoIterator<Item = KeyDigest>) -> BTreeSet<[u8; 32]> {
    digests.into_iter().map(|digest| *digest.as_bytes()).collect()
}

async fn delete(store: &impl KeyRepository, number: u64) {
    let live = record(number);
    let mut deleted = live.clone();
    deleted.details.deleted_at = Some(at(5_000));
    deleted.revision += 1;
    assert_eq!(store.update(&live, &deleted).await.unwrap(), ApplyOutcome::Done);
}

pub async fn the_digests_of_keys_that_are_not_deleted_are_listed(store: impl KeyRepository) {
    let known = store.known_digests().unwrap();
    assert_eq!(known.count().await.unwrap(), 0);
    assert_eq!(listed(&store, 10).await, BTreeSet::new());

    let records: Vec<_> = (1..=1_000).map(record).collect();
    store.apply(&Changes::default().with_inserts(records)).await.unwrap();
    // The least and the greatest.
    for (number, byte) in [(1_001, 0), (1_002, 0xff)] {
        let mut record = record(number);
        record.digest = KeyDigest::from_bytes([byte; 32]);
        store.insert(&record).await.unwrap();
    }
    // Still the key's own, revoked as it is.
    let mut revoked = record(7);
    revoked.details.revoked_at = Some(at(1));
    revoked.revision += 1;
    assert_eq!(store.update(&record(7), &revoked).await.unwrap(), ApplyOutcome::Done);
    delete(&store, 13).await;

    let extremes = [0, 0xff].map(|byte| KeyDigest::from_bytes([byte; 32]));
    let expected = bytes((1..=1_000).filter(|number| *number != 13).map(digest).chain(extremes));
    for limit in [1, 7, 100, 1_001, 5_000] {
        assert_eq!(listed(&store, limit).await, expected, "with pages of {limit}");
    }
    assert_eq!(known.count().await.unwrap(), 1_002);
}

pub async fn a_renewed_digest_is_listed(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    let mut renewed = record(1);
    renewed.digest = digest(2);
    renewed.revision += 1;
    assert_eq!(store.update(&record(1), &renewed).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(listed(&store, 10).await, bytes([digest(2)]));
}

pub async fn keys_that_were_added_are_listed(store: impl KeyRepository) {
    let known = store.known_digests().unwrap();
    for number in (1..=50).rev() {
        store.insert(&record(number)).await.unwrap();
    }
    delete(&store, 30).await;
    for limit in [1, 7, 100] {
        let (mut after, mut added) = (record(20).id, Vec::new());
        loop {
            let page = known.added(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = *last;
            added.extend(page);
        }
        let expected = (21..=50).filter(|number| *number != 30);
        let expected: Vec<_> = expected.map(|number| (record(number).id, digest(number))).collect();
        assert_eq!(added, expected, "with pages of {limit}");
    }
}
