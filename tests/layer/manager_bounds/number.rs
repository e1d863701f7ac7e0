//! How many keys an owner may have.

use std::time::Duration;

use tokio::task::JoinSet;
use tower_api_key::{
    KeyPatch, NewKey,
    clock::Clock,
    key::KeyDigest,
    manage::{ImportKey, ManageError, OwnerBounds, RotationGrace},
};

use super::{OWNER, extending, plain, with};
use crate::managed::{Managed, scopes, why};

/// The tests' manager, without a rate in the way.
fn managed() -> (Managed, impl Fn(&Managed)) {
    let managed = Managed::new();
    (managed, |managed: &Managed| managed.clock.advance(Duration::from_mins(2)))
}

#[tokio::test]
async fn twenty_five_unless_the_application_says_otherwise() {
    let (managed, wait) = managed();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let owner = with(&managed, &own);
    for _ in 1..25 {
        owner.create(plain(&["a"])).await.unwrap();
    }
    assert_eq!(why(owner.create(plain(&["a"])).await), "too many keys");
    assert_eq!(managed.rows().await.len(), 25);
    let more = managed.manager.clone().with_max_keys_per_owner(26).unwrap();
    let more = more.within_bounds(OwnerBounds::new(OWNER, scopes(&["a"])).bounded_by(&*own));
    let last = more.create(plain(&["a"])).await.unwrap().record;
    assert_eq!(why(more.create(plain(&["a"])).await), "too many keys");
    wait(&managed);

    // A new secret is no other key, and one that has ended makes room.
    owner.rotate(last.id, RotationGrace::NONE).await.unwrap();
    for _ in 0..2 {
        let rows = managed.rows().await;
        let other = rows.iter().find(|key| key.id != own.id && key.is_live(managed.clock.now()));
        owner.revoke(other.unwrap().id, None).await.unwrap();
    }
    owner.create(plain(&["a"])).await.unwrap();
    // Nobody else is bound.
    let admin = &managed.manager;
    for _ in 0..3 {
        admin.create(plain(&["a"])).await.unwrap();
        admin.for_owner(OWNER).create(NewKey::named("n")).await.unwrap();
    }
    let import = ImportKey::from_digest(KeyDigest::from_bytes([1; 32]), plain(&["a"]));
    assert_eq!(admin.import(&[import]).await.unwrap().imported.len(), 1);
    assert_eq!(why(owner.create(plain(&["a"])).await), "too many keys");
}

#[tokio::test]
async fn many_at_once_are_no_more() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let owner = with(&managed, &own);
    let mut tasks = JoinSet::new();
    for _ in 0..30 {
        let owner = owner.clone();
        tasks.spawn(async move { owner.create(plain(&["a"])).await.is_ok() });
    }
    let made = tasks.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 24);
}

/// Keys that were left to end make room, and do not come back into it.
#[tokio::test]
async fn a_key_that_has_ended_comes_back_only_where_there_is_room() {
    let (managed, wait) = managed();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let soon = managed.clock.now().saturating_add(Duration::from_secs(1));
    let mut ended = Vec::new();
    let owner = with(&managed, &own);
    for _ in 0..24 {
        let short = NewKey { expires_at: Some(soon), ..plain(&["a"]) };
        ended.push(owner.create(short).await.unwrap().record.id);
    }
    wait(&managed);
    for _ in 0..23 {
        owner.create(plain(&["a"])).await.unwrap();
    }
    owner.update(ended[0], extending(None)).await.unwrap();
    assert_eq!(why(owner.update(ended[1], extending(None)).await), "too many keys");
    // What does not bring it back is no matter.
    let rename = KeyPatch { name: Some("old".into()), ..KeyPatch::default() };
    owner.update(ended[1], rename).await.unwrap();
}

/// A rotation does not count; but keys that live on for a hundred years are keys, too.
#[tokio::test]
async fn a_grace_makes_no_number_of_keys() {
    let (managed, wait) = managed();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let other = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let owner = with(&managed, &own);
    for grace in [
        RotationGrace::FromNow(Duration::from_hours(1_000_000)),
        RotationGrace::FromFirstUse(Duration::from_hours(1)),
    ] {
        let mut last = managed.manager.create(plain(&["a"])).await.unwrap().record.id;
        for number in 0..25 {
            let new = owner.rotate(last, grace).await;
            last = new.unwrap_or_else(|error| panic!("{number}: {error}")).record.id;
        }
        wait(&managed);
        assert!(matches!(owner.rotate(last, grace).await, Err(ManageError::TooManyKeys)));
        // Without a grace there is no other key.
        last = owner.rotate(last, RotationGrace::NONE).await.unwrap().record.id;
        // An administrator is not bound.
        managed.manager.rotate(last, grace).await.unwrap();
        wait(&managed);
    }
    owner.rotate(other.id, RotationGrace::FromNow(Duration::from_hours(1))).await.unwrap();
}
