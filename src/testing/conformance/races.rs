//! What is decided by a key holds at the write, whatever happens between reading and writing.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    KeyId, KeyManager, KeyPatch, NewKey, OwnerId, Scopes, Timestamp,
    clock::{Clock, SystemClock},
    credits::{CreditsPatch, NewCredits},
    key::{KeyDigest, KeyRecord},
    manage::{ManageError, OwnerBounds, RotationGrace, TopUp},
    runtime::async_methods,
    store::{
        ApplyOutcome, BalanceStore, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse,
        Plan, RequestLog, SelectedChanges, Selection, StoreError,
    },
};

const OWNER: &str = "anna";

/// A store where something else happens right before the next write.
#[derive(Clone)]
struct Raced<S> {
    store: S,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S> Raced<S> {
    fn new(store: S, meanwhile: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { store, meanwhile: Arc::new(Mutex::new(Some(Box::pin(meanwhile)))) }
    }
}

impl<S> Raced<S> {
    /// The first write waits for it.
    async fn let_it_happen(&self) {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
    }
}

impl<S: KeyRepository> KeyStore for Raced<S> {
    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.store.find(digest).await
        }
    }
}

impl<S: KeyRepository> KeyRepository for Raced<S> {
    async_methods! {
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
            self.let_it_happen().await;
            self.store.apply(changes).await
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

        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError> {
            self.store.purge(before, owner).await
        }
    }

    fn bounds_owners(&self) -> bool {
        self.store.bounds_owners()
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        self.store.selected_changes().map(|_| self as _)
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        self.store.balance_store()
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        self.store.request_log()
    }
}

impl<S: KeyRepository> SelectedChanges for Raced<S> {
    async_methods! {
        async fn apply_to(
            &self,
            selection: &Selection,
            plan: &Plan,
        ) -> Result<ApplyOutcome, StoreError> {
            self.let_it_happen().await;
            self.store.selected_changes().unwrap().apply_to(selection, plan).await
        }
    }
}

fn scopes(texts: &[&str]) -> Scopes {
    Scopes::parse(texts).unwrap()
}

fn in_hours(hours: u64) -> Timestamp {
    SystemClock.now().saturating_add(Duration::from_hours(hours))
}

fn key(texts: &[&str], hours: u64) -> NewKey {
    NewKey {
        owner: Some(OWNER.into()),
        scopes: scopes(texts),
        expires_at: Some(in_hours(hours)),
        ..NewKey::named("key")
    }
}

/// The handle of the holder of `own`. Each counts the acts of owners for itself.
fn with(store: impl KeyRepository, own: &KeyRecord) -> KeyManager {
    let bounds = OwnerBounds::new(OWNER, scopes(&["*"])).bounded_by(own);
    KeyManager::new(store).within_bounds(bounds)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Create,
    Rotate,
    Extend,
    Enable,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Narrowing {
    Scopes,
    End,
    Disabled,
    Revoked,
    Deleted,
}

async fn narrow(keys: KeyManager, id: KeyId, narrowing: Narrowing) {
    let patch = match narrowing {
        Narrowing::Scopes => KeyPatch { scopes: Some(scopes(&["b"])), ..KeyPatch::default() },
        Narrowing::End => KeyPatch { expires_at: Some(Some(in_hours(1))), ..KeyPatch::default() },
        Narrowing::Disabled => KeyPatch { disabled: Some(true), ..KeyPatch::default() },
        Narrowing::Revoked => return drop(keys.revoke(id, None).await.unwrap()),
        Narrowing::Deleted => return keys.delete(id).await.unwrap(),
    };
    keys.update(id, patch).await.unwrap();
}

/// An owner's key is narrowed after something was compared with it, and before that is written.
pub async fn nothing_keeps_more_than_the_narrowed_key(store: impl KeyRepository + Clone) {
    let admin = KeyManager::new(store.clone());
    for act in [Act::Create, Act::Rotate, Act::Extend, Act::Enable] {
        for (narrowing, refused) in [
            (Narrowing::Scopes, "scopes"),
            (Narrowing::End, "expires_at"),
            (Narrowing::Disabled, "status"),
            (Narrowing::Revoked, "status"),
            (Narrowing::Deleted, "status"),
        ] {
            let own = admin.create(key(&["a", "b"], 9)).await.unwrap().record;
            let other = admin.create(key(&["a"], 5)).await.unwrap().record;
            with(store.clone(), &own).disable(other.id).await.unwrap();
            let before = store.get(other.id).await.unwrap();
            let meanwhile = narrow(admin.clone(), own.id, narrowing);
            let owner = with(Raced::new(store.clone(), meanwhile), &own);
            let done = match act {
                Act::Create => {
                    let new = NewKey { scopes: scopes(&["a"]), ..NewKey::named("made") };
                    owner.create(new).await.map(|made| made.record)
                }
                Act::Rotate => {
                    owner.rotate(other.id, RotationGrace::NONE).await.map(|made| made.record)
                }
                Act::Extend => {
                    let expires_at = Some(Some(in_hours(7)));
                    owner.update(other.id, KeyPatch { expires_at, ..KeyPatch::default() }).await
                }
                Act::Enable => owner.enable(other.id).await,
            };
            // A new key has the end that its parent has.
            if (act, narrowing) == (Act::Create, Narrowing::End) {
                let own = store.get(own.id).await.unwrap().unwrap();
                assert_eq!(done.unwrap().expires_at, own.expires_at);
                continue;
            }
            let Err(ManageError::BeyondOwnKey { field }) = done else {
                panic!("{act:?} {narrowing:?}: {done:?}")
            };
            assert_eq!(field, refused, "{act:?} {narrowing:?}");
            assert_eq!(store.get(other.id).await.unwrap(), before, "{act:?} {narrowing:?}");
            let made = store.list(&KeyQuery::new(1000)).await.unwrap().items;
            let made = made.iter().filter(|made| made.details.created_by == Some(own.id));
            assert_eq!(made.count(), 0, "{act:?} {narrowing:?}");
        }
    }
}

async fn begin(keys: KeyManager, id: KeyId) {
    let credits = CreditsPatch { remaining: Some(7), ..CreditsPatch::default() };
    let patch = KeyPatch { credits: Some(Some(credits)), ..KeyPatch::default() };
    keys.update(id, patch).await.unwrap();
}

/// By a key or by what a template says, which gives no credits itself.
async fn create_in(store: impl KeyRepository, own: &KeyRecord, by_key: bool) -> KeyId {
    let bounds = OwnerBounds::new(OWNER, scopes(&["*"]));
    let bounds =
        if by_key { bounds.bounded_by(own) } else { bounds.with_template(NewKey::default()) };
    let owner = KeyManager::new(store).within_bounds(bounds);
    owner.create(NewKey::named("made")).await.unwrap().record.id
}

/// A lineage begins to spend credits while a key is added to it: before that is written, or while
/// the credits are.
pub async fn a_key_made_meanwhile_spends_with_its_lineage(store: impl KeyRepository + Clone) {
    let admin = KeyManager::new(store.clone());
    for by_key in [true, false] {
        for credits_come_first in [true, false] {
            let first = if by_key {
                admin.create(key(&["a"], 9)).await.unwrap().record
            } else {
                let template = NewKey::default();
                let bounds = OwnerBounds::new(OWNER, scopes(&["*"])).with_template(template);
                let owner = admin.within_bounds(bounds);
                owner.create(NewKey::named("first")).await.unwrap().record
            };
            if credits_come_first {
                let raced = Raced::new(store.clone(), begin(admin.clone(), first.id));
                create_in(raced, &first, by_key).await;
            } else {
                let (other, own) = (store.clone(), first.clone());
                let meanwhile = async move {
                    create_in(other, &own, by_key).await;
                };
                begin(KeyManager::new(Raced::new(store.clone(), meanwhile)), first.id).await;
            }
            let query = KeyQuery::new(2).with_owner(OWNER);
            let keys = store.list(&query).await.unwrap().items;
            for key in &keys {
                let place = format!("by key: {by_key}, credits first: {credits_come_first}");
                assert_eq!(key.lineage(), first.lineage(), "{place}");
                assert!(key.details.credits.is_some(), "{place}");
            }
            assert_eq!(admin.balance(keys[0].id).await.unwrap().unwrap().remaining, 7);
            // The next round begins anew.
            for key in &keys {
                admin.delete(key.id).await.unwrap();
            }
        }
    }
}

/// Of two templates, as during a deployment, one gives credits; or an administrator does.
pub async fn a_lineage_begins_to_spend_as_a_whole(store: impl KeyRepository + Clone) {
    async fn create(store: impl KeyRepository, owner: &str, credits: Option<NewCredits>) -> KeyId {
        let template = NewKey { credits, ..NewKey::default() };
        let bounds = OwnerBounds::new(owner, scopes(&["*"])).with_template(template);
        let owner = KeyManager::new(store).within_bounds(bounds);
        owner.create(NewKey::named("made")).await.unwrap().record.id
    }
    let credits = Some(NewCredits { remaining: 7, refill: None });
    for (number, (has_first, first, second, by_admin)) in [
        (true, None, credits, false),
        (true, credits, None, false),
        (true, None, None, true),
        (false, None, credits, false),
        (false, credits, None, false),
        (false, None, None, true),
    ]
    .into_iter()
    .enumerate()
    {
        let owner = format!("owner {number}");
        if has_first {
            create(store.clone(), &owner, None).await;
        }
        let (other, whose) = (store.clone(), owner.clone());
        let meanwhile = async move {
            let id = create(other.clone(), &whose, second).await;
            if by_admin {
                begin(KeyManager::new(other), id).await;
            }
        };
        create(Raced::new(store.clone(), meanwhile), &owner, first).await;
        let keys = store.list(&KeyQuery::new(10).with_owner(&*owner)).await.unwrap().items;
        assert_eq!(keys.len(), 2 + usize::from(has_first), "{owner}");
        assert!(keys.iter().all(|key| key.details.credits == Some(0)), "{owner}: {keys:?}");
    }
}

/// The id of a creation is known, whatever becomes of the key.
pub async fn a_creation_is_remembered(store: impl KeyRepository + Clone) {
    let admin = KeyManager::new(store.clone()).for_owner(OWNER);
    let new = |id: &str| NewKey {
        request_id: Some(id.to_owned()),
        credits: Some(NewCredits { remaining: 7, refill: None }),
        ..key(&["a"], 9)
    };
    let own = admin.create(new("r")).await.unwrap().record;
    let already = async |id, expected| {
        let again = admin.create(new(id)).await;
        let Err(ManageError::AlreadyCreated { key }) = again else { panic!("{again:?}") };
        assert_eq!(key, expected);
    };
    // Times are counted from when it is sent.
    already("r", Some(own.id)).await;
    // Something else with the same id.
    for other in [
        NewKey { name: "another".to_owned(), ..new("r") },
        NewKey { scopes: Scopes::default(), ..new("r") },
        NewKey { credits: None, ..new("r") },
        NewKey { allowed_addresses: vec!["10.0.0.0/8".parse().unwrap()], ..new("r") },
    ] {
        let refused = admin.create(other).await;
        assert!(matches!(refused, Err(ManageError::RequestIdReused)), "{refused:?}");
    }
    let reused = admin.top_up(own.id, TopUp::new(1).with_request_id("r")).await;
    assert!(matches!(reused, Err(ManageError::RequestIdReused)), "{reused:?}");
    let rotation = crate::manage::RotateKey::new(RotationGrace::NONE).with_request_id("r");
    let reused = admin.rotate(own.id, rotation).await;
    assert!(matches!(reused, Err(ManageError::RequestIdReused)), "{reused:?}");
    // And the other way round, in the lineage that the new key joins.
    admin.top_up(own.id, TopUp::new(1).with_request_id("paid")).await.unwrap();
    let owner = with(store.clone(), &own);
    let made = NewKey { request_id: Some("paid".to_owned()), ..NewKey::named("made") };
    let reused = owner.create(made).await;
    assert!(matches!(reused, Err(ManageError::RequestIdReused)), "{reused:?}");
    let made = NewKey { request_id: Some("made".to_owned()), ..NewKey::named("made") };
    let id = owner.create(made.clone()).await.unwrap().record.id;
    let again = owner.create(made).await;
    let Err(ManageError::AlreadyCreated { key }) = again else { panic!("{again:?}") };
    assert_eq!(key, Some(id));

    admin.revoke(own.id, None).await.unwrap();
    already("r", Some(own.id)).await;
    admin.delete(own.id).await.unwrap();
    already("r", None).await;
    assert_eq!(KeyManager::new(store.clone()).purge(in_hours(24)).await.unwrap(), 1);
    assert!(store.get(own.id).await.unwrap().is_none());
    already("r", None).await;
    // Nothing of a creation that was refused is left.
    admin.create(new("s")).await.unwrap();
}
