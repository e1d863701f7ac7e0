//! Keys that are selected and changed together, whatever happens to them meanwhile.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::task::{JoinSet, yield_now};

use super::{at, digest, full, record, stored};
use crate::{
    KeyId, KeyManager, NewKey, OwnerId, Timestamp,
    key::KeyRecord,
    manage::{KeySet, ManageError, OwnerBounds},
    store::{
        ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyUpdate, OwnerBound, Plan, Selection,
        StoreError,
    },
};

fn owned(number: u64, owner: &str, created_at: i64) -> KeyRecord {
    let mut record = record(number);
    record.owner = Some(owner.into());
    record.created_at = at(created_at);
    record
}

fn revoked(record: &KeyRecord) -> KeyUpdate {
    let mut new = record.clone();
    new.details.revoked_at = Some(at(7_000));
    new.revision += 1;
    KeyUpdate::new(record, new)
}

/// A plan that revokes all keys, and the ids that it was last given.
fn revoke_all() -> (Plan, Arc<Mutex<Vec<KeyId>>>) {
    let given = Arc::new(Mutex::new(Vec::new()));
    let seen = given.clone();
    let plan: Plan = Arc::new(move |records| {
        *seen.lock().unwrap() = records.iter().map(|record| record.id).collect();
        let updates = records.iter().map(|record| revoked(record)).collect();
        Some(Changes::default().with_updates(updates))
    });
    (plan, given)
}

fn of(owner: Option<&str>, before: Option<i64>) -> Selection {
    Selection::Issued { owner: owner.map(OwnerId::from), before: before.map(at) }
}

async fn apply_to(
    store: &impl KeyRepository,
    selection: &Selection,
    plan: &Plan,
) -> Result<ApplyOutcome, StoreError> {
    store.selected_changes().unwrap().apply_to(selection, plan).await
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<KeyId> {
    numbers.into_iter().map(|number| record(number).id).collect()
}

pub async fn selections_are_read_and_changed(store: impl KeyRepository) {
    let mut deleted = owned(4, "anna", 10);
    deleted.details.deleted_at = Some(at(1));
    let everything = full(6);
    let mut changes = Changes::default();
    changes.inserts.extend([
        owned(3, "anna", 20),
        owned(1, "anna", 10),
        owned(2, "anna ", 10),
        deleted,
        record(5),
        everything.clone(),
    ]);
    store.apply(&changes).await.unwrap();
    for (selection, expected) in [
        (of(Some("anna"), None), ids([1, 3])),
        (of(Some("anna"), Some(20)), ids([1])),
        (of(Some("anna"), Some(10)), ids([])),
        (of(Some("nobody"), None), ids([])),
        (of(Some("an\0na"), None), ids([])),
        (of(None, Some(20)), ids([1, 2, 6])),
        (of(None, None), ids([1, 2, 3, 5, 6])),
        (Selection::Ids(ids([6, 4, 99, 1, 4])), ids([1, 4, 6])),
        (Selection::Ids(ids([98, 99])), ids([])),
        (Selection::Ids(Vec::new()), ids([])),
    ] {
        let (plan, given) = revoke_all();
        // The keys as they are, and nothing is written.
        let looked: Plan = {
            let plan = plan.clone();
            Arc::new(move |records: &[Arc<KeyRecord>]| plan(records).and(None))
        };
        assert_eq!(apply_to(&store, &selection, &looked).await.unwrap(), ApplyOutcome::Done);
        assert_eq!(*given.lock().unwrap(), expected, "{selection:?}");
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let plan: Plan = {
        let seen = seen.clone();
        Arc::new(move |records| {
            seen.lock().unwrap().extend(records.iter().map(|record| KeyRecord::clone(record)));
            None
        })
    };
    apply_to(&store, &Selection::Ids(ids([6])), &plan).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [everything]);

    let (plan, _) = revoke_all();
    assert_eq!(apply_to(&store, &of(Some("anna"), None), &plan).await.unwrap(), ApplyOutcome::Done);
    for (number, is_revoked) in [(1, true), (2, false), (3, true), (4, false), (5, false)] {
        let now = stored(&store, record(number).id).await;
        assert_eq!(
            (now.details.revoked_at.is_some(), now.revision),
            (is_revoked, is_revoked.into())
        );
    }
}

/// A duplicate among what is planned, and a key that another revision is expected of.
pub async fn bad_plans_write_nothing(store: impl KeyRepository) {
    store.insert(&owned(1, "anna", 10)).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    let plan: Plan = Arc::new(|records| {
        let updates = records.iter().map(|record| revoked(record)).collect();
        Some(Changes::default().with_updates(updates).with_inserts(vec![record(2)]))
    });
    super::assert_duplicate(apply_to(&store, &of(Some("anna"), None), &plan).await);
    let plan: Plan = Arc::new(|records| {
        let mut updates: Vec<_> = records.iter().map(|record| revoked(record)).collect();
        let mut stale = revoked(&record(2));
        stale.expected = 9;
        updates.push(stale);
        Some(Changes::default().with_updates(updates))
    });
    let result = apply_to(&store, &of(Some("anna"), None), &plan).await.unwrap();
    assert_eq!(result, ApplyOutcome::Stale);
    assert_eq!(stored(&store, record(1).id).await, owned(1, "anna", 10));
}

/// Replaces a key by another, as a rotation does. Whether it was done.
async fn rotate(store: &impl KeyRepository, old: &KeyRecord, new: KeyRecord) -> bool {
    let mut replaced = old.clone();
    replaced.details.rotation.to = Some(new.id);
    replaced.revision += 1;
    let updates = vec![KeyUpdate::new(old, replaced)];
    let changes = Changes::default().with_updates(updates).with_inserts(vec![new]);
    store.apply(&changes).await.unwrap() == ApplyOutcome::Done
}

/// Keys that replace others all the time, each of which could carry on a stolen one.
pub async fn no_key_escapes_by_being_rotated(store: impl KeyRepository + Clone) {
    const ROTATORS: u64 = 6;
    for round in 0..4_u64 {
        let owner = format!("owner {round}");
        let (stop, rotations) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut rotators = JoinSet::new();
        for number in 0..ROTATORS {
            let first = 100_000 * (round + 1) + 10_000 * number;
            store.insert(&owned(first, &owner, 10)).await.unwrap();
            let (store, owner) = (store.clone(), owner.clone());
            let (stop, rotations) = (stop.clone(), rotations.clone());
            rotators.spawn(async move {
                let mut current = record(first).id;
                for next in first + 1..first + 5_000 {
                    let old = stored(&store, current).await;
                    if old.details.revoked_at.is_some() || stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let new = owned(next, &owner, 10);
                    let id = new.id;
                    if rotate(&store, &old, new).await {
                        current = id;
                        rotations.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        while rotations.load(Ordering::SeqCst) < 20 {
            yield_now().await;
        }
        let (plan, given) = revoke_all();
        while apply_to(&store, &of(Some(&owner), None), &plan).await.unwrap() == ApplyOutcome::Stale
        {
        }
        // A rotation that is under way finds its key revoked, and ends.
        stop.store(true, Ordering::SeqCst);
        rotators.join_all().await;
        let listed = store.list(&KeyQuery::new(50_000).with_owner(&*owner)).await.unwrap().items;
        assert_eq!(listed.len(), given.lock().unwrap().len());
        assert!(listed.len() as u64 >= ROTATORS + 20);
        let escaped: Vec<_> =
            listed.iter().filter(|key| key.details.revoked_at.is_none()).collect();
        assert!(escaped.is_empty(), "{} keys escaped", escaped.len());
    }
}

/// Keys that are made all the time: what was there when the act began is ended by it, and what it did
/// not see was made afterwards.
pub async fn no_key_escapes_by_being_made(store: impl KeyRepository + Clone) {
    const MAKERS: u64 = 6;
    for round in 0..4_u64 {
        let owner = format!("owner {round}");
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut makers = JoinSet::new();
        for number in 0..MAKERS {
            let (store, owner) = (store.clone(), owner.clone());
            let (stop, made) = (stop.clone(), made.clone());
            makers.spawn(async move {
                let first = 100_000 * (round + 1) + 10_000 * number;
                for next in first..first + 5_000 {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let new = owned(next, &owner, 10);
                    let (id, bound) = (
                        new.id,
                        OwnerBound {
                            owner: owner.as_str().into(),
                            max_keys: u32::MAX,
                            now: at(5_000),
                        },
                    );
                    // As an owner does, and as an administrator does.
                    let owner_bound = Some(bound).filter(|_| number % 2 == 0);
                    let inserts = vec![new];
                    let changes =
                        Changes::default().with_inserts(inserts).with_owner_bound(owner_bound);
                    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
                    made.lock().unwrap().push(id);
                    // A store in memory never waits.
                    yield_now().await;
                }
            });
        }
        while made.lock().unwrap().len() < 20 {
            yield_now().await;
        }
        let before = made.lock().unwrap().clone();
        let (plan, given) = revoke_all();
        while apply_to(&store, &of(Some(&owner), None), &plan).await.unwrap() == ApplyOutcome::Stale
        {
        }
        stop.store(true, Ordering::SeqCst);
        makers.join_all().await;
        let given = given.lock().unwrap().clone();
        assert!(before.iter().all(|id| given.contains(id)));
        let listed = store.list(&KeyQuery::new(50_000).with_owner(&*owner)).await.unwrap().items;
        assert_eq!(listed.len(), made.lock().unwrap().len());
        for key in &listed {
            assert_eq!(key.details.revoked_at.is_some(), given.contains(&key.id), "{}", key.id);
        }
    }
}

/// A key that leaked makes others all the time, while all keys of its owner are revoked.
pub async fn no_key_outlives_the_one_it_was_made_with(store: impl KeyRepository + Clone) {
    for round in 0..3 {
        let owner = format!("owner {round}");
        // Each counts the acts of owners for itself.
        let manager = || KeyManager::new(store.clone()).with_max_keys_per_owner(u32::MAX).unwrap();
        let leaked = NewKey { owner: Some(owner.as_str().into()), ..NewKey::named("leaked") };
        let leaked = manager().create(leaked).await.unwrap().record;
        let made = Arc::new(AtomicUsize::new(0));
        let mut makers = JoinSet::new();
        for _ in 0..6 {
            let bounds = OwnerBounds::new(&*owner, leaked.scopes.clone()).bounded_by(&*leaked);
            let (store, made) = (store.clone(), made.clone());
            makers.spawn(async move {
                loop {
                    let manager =
                        KeyManager::new(store.clone()).with_max_keys_per_owner(u32::MAX).unwrap();
                    match manager.within_bounds(bounds.clone()).create(NewKey::named("made")).await
                    {
                        Ok(_) => drop(made.fetch_add(1, Ordering::SeqCst)),
                        Err(ManageError::BeyondOwnKey { field: "status" }) => break,
                        Err(error) => panic!("{error:?}"),
                    }
                    yield_now().await;
                }
            });
        }
        while made.load(Ordering::SeqCst) < 20 {
            yield_now().await;
        }
        manager().revoke_all(KeySet::of_owner(&*owner), Some("leaked")).await.unwrap();
        makers.join_all().await;
        let listed = store.list(&KeyQuery::new(50_000).with_owner(&*owner)).await.unwrap().items;
        assert!(listed.len() > 20);
        let escaped: Vec<_> =
            listed.iter().filter(|key| key.details.revoked_at.is_none()).collect();
        assert!(escaped.is_empty(), "{} keys escaped", escaped.len());
    }
}

/// More than fits a statement of any database, changed by one act.
pub async fn twenty_thousand_keys_are_changed_together(store: impl KeyRepository) {
    const COUNT: u64 = 20_000;
    let all: Vec<_> = (0..COUNT).map(|number| owned(number + 1, "anna", 10)).collect();
    for inserts in all.chunks(1000) {
        let changes = Changes::default().with_inserts(inserts.to_vec());
        assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    }
    let (plan, given) = revoke_all();
    assert_eq!(apply_to(&store, &of(Some("anna"), None), &plan).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(given.lock().unwrap().len() as u64, COUNT);
    let mut query = KeyQuery::new(1).with_owner("anna");
    query.status = Some((crate::key::KeyStatus::Active, Timestamp::from_unix_millis(8_000)));
    assert!(store.list(&query).await.unwrap().items.is_empty());
    for number in [1, 250, 1_000, 1_001, COUNT] {
        let found = store.find(&digest(number)).await.unwrap().unwrap();
        assert_eq!((found.details.revoked_at, found.revision), (Some(at(7_000)), 1));
    }
}
