//! Request ids: a repeated request creates no second key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tower_api_key::{
    KeyId, KeyManager, NewKey, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    manage::ManageError,
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse, MemoryStore,
        StoreError, StoreErrorKind,
    },
};

use crate::{
    managed::{Managed, why},
    support::{at, clock},
};

fn requested(id: &str) -> NewKey {
    NewKey { request_id: Some(id.into()), ..NewKey::named("n") }
}

fn already(id: KeyId) -> String {
    format!("already created {:?}", Some(id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_requests_with_one_id_one_creates_a_key() {
    let managed = Managed::new();
    let requests = (0..32).map(|_| {
        let manager = managed.manager.clone();
        tokio::spawn(async move { manager.create(requested("r")).await })
    });
    let (mut issued, mut named) = (Vec::new(), Vec::new());
    for result in join_all(requests).await {
        match result.unwrap() {
            Ok(key) => issued.push(key),
            Err(ManageError::AlreadyCreated { key }) => named.push(key.unwrap()),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((issued.len(), named.len()), (1, 31));
    assert!(named.iter().all(|id| *id == issued[0].record.id));
    assert_eq!(managed.rows().await.len(), 1);
    assert_eq!(managed.log().await.len(), 1);
    assert_eq!(managed.outcome(&issued[0]), "admitted");
}

#[tokio::test]
async fn each_owner_has_names_of_their_own() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let mut ids = Vec::new();
    // Also where the names run into each other, and with none.
    for (owner, id) in [("a", "bc"), ("ab", "c"), ("abc", "r"), ("b", "bc")] {
        let handle = manager.for_owner(owner);
        ids.push((handle.clone(), id, handle.create(requested(id)).await.unwrap().record.id));
    }
    for id in ["bc", "abc", "a"] {
        let created = manager.create(requested(id)).await.unwrap().record.id;
        ids.push((manager.clone(), id, created));
    }
    for (handle, id, created) in ids {
        assert_eq!(why(handle.create(requested(id)).await), already(created));
    }
    assert_eq!(managed.rows().await.len(), 7);
    // The name is the handle's, whoever the key is for.
    let theirs = NewKey { owner: Some("a".into()), ..requested("for-a") };
    let id = manager.create(theirs.clone()).await.unwrap().record.id;
    assert_eq!(why(manager.create(theirs).await), already(id));
    assert_eq!(why(manager.create(requested("for-a")).await), "request id reused");
    assert!(manager.for_owner("a").create(requested("for-a")).await.is_ok());
}

#[tokio::test]
async fn the_name_stays_taken_for_thirty_days_and_as_long_as_there_is_the_key() {
    let (managed, store_clock) = (Managed::new(), clock());
    let manager = &managed.manager;
    drop(managed.store.clone().with_clock(store_clock.clone()));
    let id = manager.create(requested("r")).await.unwrap().record.id;
    manager.revoke(id, None).await.unwrap();
    assert_eq!(why(manager.create(requested("r")).await), already(id));
    manager.delete(id).await.unwrap();
    assert_eq!(why(manager.create(requested("r")).await), "already created None");
    managed.set(at(1));
    assert_eq!(manager.purge(at(1)).await.unwrap(), 1);
    let another = NewKey { name: "another".into(), ..requested("r") };
    assert_eq!(why(manager.create(another).await), "request id reused");
    let purge_after = async |days: u64| {
        store_clock.advance(Duration::from_hours(days * 24));
        manager.purge(tower_api_key::clock::Clock::now(&store_clock)).await.unwrap()
    };
    for days in [0, 30] {
        assert_eq!(purge_after(days).await, 0);
        assert_eq!(why(manager.create(requested("r")).await), "already created None");
    }
    assert_eq!(purge_after(1).await, 0);
    let again = manager.create(requested("r")).await.unwrap();
    assert_ne!(again.record.id, id);
    assert_eq!(why(manager.create(requested("r")).await), already(again.record.id));
}

#[tokio::test]
async fn what_a_request_id_may_be() {
    let managed = Managed::new();
    for good in ["a".to_owned(), "~".repeat(255), "3f2504e0-4f89".into()] {
        managed.manager.create(requested(&good)).await.unwrap();
    }
    for bad in [String::new(), "a".repeat(256), "a b".into(), "ä".into(), "a\n".into(), "\0".into()]
    {
        assert_eq!(why(managed.manager.create(requested(&bad)).await), "invalid request_id");
    }
    // A refused request has used up nothing.
    let invalid = NewKey { name: String::new(), ..requested("r") };
    assert_eq!(why(managed.manager.create(invalid).await), "invalid name");
    managed.manager.create(requested("r")).await.unwrap();
}

/// A store that writes, and then says that it does not know whether it has.
struct Ambiguous {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl KeyStore for Ambiguous {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Ambiguous {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let applied = self.store.apply(changes).await?;
        if self.fails.load(Ordering::SeqCst) { Err(StoreError::timeout()) } else { Ok(applied) }
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.store.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.store.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.store.purge(before, owner).await
    }
}

#[tokio::test]
async fn after_an_answer_that_was_lost_the_key_is_named_and_can_be_replaced() {
    let (store, fails) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)));
    let heard = Arc::new(AtomicBool::new(false));
    let ear = heard.clone();
    let manager = KeyManager::new(Ambiguous { store: store.clone(), fails: fails.clone() })
        .with_event_hook(move |_| ear.store(true, Ordering::SeqCst));
    match manager.create(requested("r")).await {
        Err(ManageError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Timeout),
        other => panic!("{other:?}"),
    }
    assert!(!heard.load(Ordering::SeqCst), "the hook hears of what is known to be done");
    fails.store(false, Ordering::SeqCst);
    let Err(ManageError::AlreadyCreated { key: Some(id) }) = manager.create(requested("r")).await
    else {
        panic!("a second key")
    };
    assert_eq!(store.list(&KeyQuery::new(10)).await.unwrap().items.len(), 1);
    let replaced = manager.rotate(id, tower_api_key::manage::RotationGrace::NONE).await.unwrap();
    assert_eq!(replaced.record.lineage(), id);

    // The same for a rotation: the key that nobody has the secret of is named, and replaced.
    fails.store(true, Ordering::SeqCst);
    let lost = manager.rotate(replaced.record.id, tower_api_key::manage::RotationGrace::NONE).await;
    assert!(matches!(lost, Err(ManageError::Store(_))));
    fails.store(false, Ordering::SeqCst);
    let again =
        manager.rotate(replaced.record.id, tower_api_key::manage::RotationGrace::NONE).await;
    let Err(ManageError::AlreadyRotated { to }) = again else { panic!("a second successor") };
    let found = manager.rotate(to, tower_api_key::manage::RotationGrace::NONE).await.unwrap();
    assert_eq!(found.record.lineage(), id);
}
