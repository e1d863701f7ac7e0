//! Rotating a key that was rotated before, or by several at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tower_api_key::{
    IssuedKey, KeyId, NewKey,
    manage::{ManageError, RotationGrace},
};

use crate::{
    managed::{Managed, why},
    rotation::hours,
    support::at,
};

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn a_key_is_replaced_once() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let id = old.record.id;
    let new = managed.manager.rotate(id, RotationGrace::FromNow(hours(1))).await.unwrap();
    let before = managed.rows().await;
    for now in [at(1), at(HOUR), at(9 * HOUR)] {
        managed.set(now);
        let refused = managed.manager.rotate(id, RotationGrace::NONE).await;
        assert_eq!(why(refused), format!("already rotated to {}", new.record.id));
    }
    assert_eq!(managed.rows().await, before);

    managed.set(at(1));
    let newest = managed.manager.rotate(new.record.id, RotationGrace::NONE).await.unwrap();
    // The first key's grace is as it was chosen.
    assert_eq!(managed.outcome(&old), "admitted");
    assert_eq!(managed.outcome(&new), "expired_key");
    assert_eq!(managed.outcome(&newest), "admitted");
    managed.set(at(HOUR));
    assert_eq!(managed.outcome(&old), "expired_key");
    assert_eq!(managed.outcome(&newest), "admitted");
}

/// The new key leaked before anybody used it, or its secret was lost.
#[tokio::test]
async fn a_key_whose_replacement_has_ended_is_replaced_anew() {
    for (first, second, end) in [
        (RotationGrace::FromNow(hours(2)), RotationGrace::FromNow(hours(5)), Some(2 * HOUR)),
        (RotationGrace::FromNow(hours(5)), RotationGrace::FromNow(hours(1)), Some(HOUR)),
        (RotationGrace::FromNow(hours(2)), RotationGrace::FromFirstUse(hours(9)), Some(2 * HOUR)),
        (RotationGrace::FromFirstUse(hours(9)), RotationGrace::FromNow(hours(1)), Some(HOUR)),
        (RotationGrace::FromFirstUse(hours(9)), RotationGrace::FromFirstUse(hours(3)), None),
    ] {
        let managed = Managed::new();
        let old = managed.manager.create(NewKey::named("old")).await.unwrap();
        let lost = managed.manager.rotate(old.record.id, first).await.unwrap();
        let again = managed.manager.rotate(old.record.id, second).await.unwrap_err();
        assert!(matches!(again, ManageError::AlreadyRotated { to } if to == lost.record.id));

        managed.manager.revoke(lost.record.id, None).await.unwrap();
        let new = managed.manager.rotate(old.record.id, second).await.unwrap();
        let row = managed.row(old.record.id).await;
        assert_eq!(row.details.rotation.to, Some(new.record.id));
        assert_eq!(row.ends_at(), end.map(at), "{first:?}, then {second:?}");
        assert_eq!(new.record.lineage(), old.record.id);
        managed.use_key(&new).await;
        let after_use = managed.row(old.record.id).await.ends_at();
        assert_eq!(after_use, Some(at(end.unwrap_or(3 * HOUR))), "{first:?}, then {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_replace_a_key_one_does() {
    for _ in 0..20 {
        let managed = Managed::new();
        let id = managed.issue().await.record.id;
        let rotations = (0..32).map(|_| {
            let manager = managed.manager.clone();
            tokio::spawn(async move { manager.rotate(id, RotationGrace::FromNow(hours(1))).await })
        });
        let (mut issued, mut named): (Vec<IssuedKey>, BTreeSet<KeyId>) = Default::default();
        for result in join_all(rotations).await {
            match result.unwrap() {
                Ok(key) => issued.push(key),
                Err(ManageError::AlreadyRotated { to }) => drop(named.insert(to)),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(issued.len(), 1);
        let new = issued[0].record.id;
        assert_eq!(Vec::from_iter(named), [new]);
        // No key that nobody holds the secret of.
        let rows = managed.rows().await;
        assert_eq!(rows.iter().map(|row| row.id).collect::<BTreeSet<_>>(), [id, new].into());
        assert_eq!(managed.outcome(&issued[0]), "admitted");
    }
}
