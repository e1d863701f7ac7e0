//! How many live keys an owner may have, however many nodes create keys at the same time.

use tokio::task::JoinSet;

use super::{assert_duplicate, at, digest, record, stored};
use crate::{
    key::KeyRecord,
    store::{ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyUpdate, OwnerBound},
};

fn owned(number: u64, owner: &str) -> KeyRecord {
    let mut record = record(number);
    record.owner = Some(owner.into());
    record
}

fn bound(max_keys: u32) -> OwnerBound {
    OwnerBound { owner: "owner".into(), max_keys, now: at(5_000) }
}

fn bounded(max_keys: u32, inserts: impl IntoIterator<Item = KeyRecord>) -> Changes {
    let inserts = inserts.into_iter().collect();
    Changes::default().with_inserts(inserts).with_owner_bound(Some(bound(max_keys)))
}

fn next(record: &KeyRecord, change: impl FnOnce(&mut KeyRecord)) -> KeyUpdate {
    let mut new = record.clone();
    change(&mut new);
    new.revision += 1;
    KeyUpdate::new(record, new)
}

pub async fn an_owner_has_no_more_live_keys_than_allowed(store: impl KeyRepository) {
    assert!(store.bounds_owners());
    for (number, expected) in [
        (1, ApplyOutcome::Done),
        (2, ApplyOutcome::Done),
        (3, ApplyOutcome::TooManyKeys),
        (4, ApplyOutcome::TooManyKeys),
    ] {
        let changes = bounded(2, [owned(number, "owner")]);
        assert_eq!(store.apply(&changes).await.unwrap(), expected);
        let is_there = store.get(record(number).id).await.unwrap().is_some();
        assert_eq!(is_there, expected == ApplyOutcome::Done);
    }
    // Other owners' keys, and those without an owner, do not count; neither does the bound of another.
    let others = ["own", "owner ", "owner:", "Owner", "owner;"];
    let others = (10..).zip(others).map(|(number, owner)| owned(number, owner));
    assert_eq!(
        store.apply(&bounded(2, others.chain([record(20)]))).await.unwrap(),
        ApplyOutcome::Done
    );
    // Several at once are added together or not at all, with everything else.
    let mut many = bounded(4, (30..33).map(|number| owned(number, "owner")));
    many.updates.push(next(&owned(1, "owner"), |record| record.name = "renamed".into()));
    assert_eq!(store.apply(&many).await.unwrap(), ApplyOutcome::TooManyKeys);
    assert!(store.get(record(30).id).await.unwrap().is_none());
    assert_eq!(stored(&store, record(1).id).await, owned(1, "owner"));
    many.owner_bound = Some(bound(5));
    assert_eq!(store.apply(&many).await.unwrap(), ApplyOutcome::Done);
    // Without a bound, as many as one likes.
    let unbound = bounded(0, [owned(40, "owner")]).with_owner_bound(None);
    assert_eq!(store.apply(&unbound).await.unwrap(), ApplyOutcome::Done);
}

/// A key counts unless it is deleted, was revoked or has come to its end.
pub async fn only_live_keys_count(store: impl KeyRepository) {
    type Case = (fn(&mut KeyRecord), bool);
    let changes: [Case; 9] = [
        (|record| record.details.revoked_at = Some(at(1)), false),
        (|record| record.details.deleted_at = Some(at(9_000)), false),
        (|record| record.expires_at = Some(at(5_000)), false),
        (|record| record.expires_at = Some(at(5_001)), true),
        (|record| record.details.rotation.retires_at = Some(at(5_000)), false),
        (|record| record.details.rotation.retires_at = Some(at(5_001)), true),
        (|record| record.details.rotation.grace_after_use = Some(1), true),
        (|record| record.details.not_before = Some(at(9_000)), true),
        (|record| record.disabled = true, true),
    ];
    for (number, (change, counts)) in (1..).zip(changes) {
        let owner = format!("owner {number}");
        let mut first = owned(number, &owner);
        change(&mut first);
        assert_eq!(first.is_live(at(5_000)), counts);
        store.insert(&first).await.unwrap();
        let mut changes = bounded(1, [owned(100 + number, &owner)]);
        changes.owner_bound.as_mut().unwrap().owner = owner.as_str().into();
        let expected = if counts { ApplyOutcome::TooManyKeys } else { ApplyOutcome::Done };
        assert_eq!(store.apply(&changes).await.unwrap(), expected, "{first:?}");
    }
}

/// What an update makes live counts too, and what it ends makes room.
pub async fn updates_count_as_they_will_be(store: impl KeyRepository) {
    let (live, mut expired) = (owned(1, "owner"), owned(2, "owner"));
    expired.expires_at = Some(at(5_000));
    store.apply(&bounded(1, [live.clone(), expired.clone()]).with_owner_bound(None)).await.unwrap();
    let revived = next(&expired, |record| record.expires_at = None);
    let mut changes = bounded(1, []).with_updates(vec![revived]);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::TooManyKeys);
    assert_eq!(stored(&store, expired.id).await, expired);
    changes.updates.push(next(&live, |record| record.details.revoked_at = Some(at(1))));
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    // Given to another owner, who has no bound here.
    let given = next(&stored(&store, expired.id).await, |record| record.owner = None);
    let changes = bounded(1, [owned(3, "owner")]).with_updates(vec![given]);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(
        store.apply(&bounded(1, [owned(4, "owner")])).await.unwrap(),
        ApplyOutcome::TooManyKeys
    );
    // Other reasons come first.
    assert_duplicate(store.apply(&bounded(0, [owned(3, "owner")])).await);
    let mut stale = next(&owned(3, "owner"), |_| {});
    stale.expected = 9;
    let stale = bounded(0, []).with_updates(vec![stale]);
    assert_eq!(store.apply(&stale).await.unwrap(), ApplyOutcome::Stale);
}

/// However the attempts fall together, and although some keys end meanwhile.
pub async fn concurrent_creations_never_exceed_the_bound(store: impl KeyRepository + Clone) {
    const MAX: u32 = 5;
    for round in 0..3_u64 {
        let mut applied = JoinSet::new();
        for number in 0..24 {
            let store = store.clone();
            let new = owned(1_000 * (round + 1) + number, "owner");
            applied.spawn(async move { store.apply(&bounded(MAX, [new])).await.unwrap() });
        }
        let results = applied.join_all().await;
        let done = results.iter().filter(|result| **result == ApplyOutcome::Done).count();
        // The second round finds two places, which were made in the end of the first.
        assert_eq!(done, if round == 0 { MAX as usize } else { 2 });
        assert!(results.iter().all(|result| *result != ApplyOutcome::Stale));
        let listed = store.list(&KeyQuery::new(100).with_owner("owner")).await.unwrap().items;
        let live: Vec<_> = listed.iter().filter(|record| record.is_live(at(5_000))).collect();
        assert_eq!(live.len(), MAX as usize);
        for key in &live[..2] {
            let revoked = next(key, |record| record.details.revoked_at = Some(at(1)));
            store.update(key, &revoked.record).await.unwrap();
        }
    }
    assert!(store.find(&digest(7)).await.unwrap().is_none());
}
