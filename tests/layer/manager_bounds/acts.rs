//! How much owners do in a minute.

use std::time::Duration;

use tower_api_key::{
    KeyPatch, NewKey,
    manage::{ManageError, RotationGrace},
};

use super::{plain, with};
use crate::managed::Managed;

#[tokio::test]
async fn thirty_acts_a_minute() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let owner = with(&managed, &own);
    let other = NewKey { owner: Some("user-2".into()), ..plain(&["a"]) };
    let other = managed.manager.create(other).await.unwrap().record;
    let rename = |number| KeyPatch { name: Some(format!("n {number}")), ..KeyPatch::default() };
    let mut keys = Vec::new();
    for number in 0..10 {
        let key = owner.create(plain(&["a"])).await.unwrap().record;
        owner.update(key.id, rename(number)).await.unwrap();
        keys.push(owner.rotate(key.id, RotationGrace::NONE).await.unwrap().record);
    }
    // Through whatever handle, and with whatever key of the owner's.
    for handle in [owner.clone(), with(&managed, &own), with(&managed, &keys[0])] {
        for refused in [
            handle.create(NewKey::named("more")).await.map(drop),
            handle.update(own.id, rename(99)).await.map(drop),
            handle.rotate(own.id, RotationGrace::NONE).await.map(drop),
        ] {
            let Err(ManageError::TooManyActs { retry_after }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(retry_after, Duration::from_secs(2));
        }
    }
    // A key that leaked keeps no owner from ending keys.
    owner.disable(keys[0].id).await.unwrap();
    owner.revoke(keys[0].id, None).await.unwrap();
    owner.delete(keys[1].id).await.unwrap();
    // Nobody else is held up.
    managed.manager.for_owner("user-1").create(NewKey::named("n")).await.unwrap();
    with(&managed, &other).create(NewKey::named("n")).await.unwrap();

    managed.clock.advance(Duration::from_secs(2));
    owner.create(NewKey::named("later")).await.unwrap();
    assert!(owner.create(NewKey::named("later")).await.is_err());
}
