//! What the tests of the manager share: a manager whose store can be looked into, and whose events
//! are remembered.

use std::{
    mem,
    sync::{Arc, Mutex},
};

use http::{HeaderName, Response};
use tower_api_key::{
    IssuedKey, KeyFormat, KeyId, KeyManager, NewKey, Scopes, Timestamp,
    clock::SettableClock,
    key::{EventQuery, KeyEvent, KeyRecord, KeyStatus},
    manage::ManageError,
    store::{AuditLog, KeyQuery, KeyRepository, MemoryStore},
};

use crate::support::{Answer, NOW, clock, header_values, send, with_key};

pub(crate) struct Managed {
    pub(crate) manager: KeyManager,
    pub(crate) store: MemoryStore,
    pub(crate) clock: SettableClock,
    heard: Arc<Mutex<Vec<KeyEvent>>>,
}

impl Managed {
    pub(crate) fn new() -> Self {
        let clock = clock();
        let store = MemoryStore::new().with_clock(clock.clone());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        let manager = KeyManager::new(store.clone())
            .with_format(KeyFormat::new("shop_test").unwrap())
            .with_clock(clock.clone())
            .with_event_hook(move |event| ear.lock().unwrap().push(event.clone()));
        Self { manager, store, clock, heard }
    }

    pub(crate) async fn issue(&self) -> IssuedKey {
        self.manager.create(NewKey::named("key of the tests")).await.unwrap()
    }

    /// The key as stored, deleted or not.
    pub(crate) async fn row(&self, id: KeyId) -> Arc<KeyRecord> {
        self.store.get(id).await.unwrap().expect("a row")
    }

    /// All keys that are not deleted, the oldest first.
    pub(crate) async fn rows(&self) -> Vec<Arc<KeyRecord>> {
        let mut rows = self.store.list(&KeyQuery::new(10_000)).await.unwrap().items;
        rows.reverse();
        rows
    }

    /// The events that the hook heard since this was last asked.
    pub(crate) fn heard(&self) -> Vec<KeyEvent> {
        mem::take(&mut *self.heard.lock().unwrap())
    }

    /// The audit log, the oldest event first.
    pub(crate) async fn log(&self) -> Vec<KeyEvent> {
        let mut events = self.store.events(&EventQuery::new(10_000)).await.unwrap().items;
        events.reverse();
        events
    }

    /// A request with this key through a layer of the manager's.
    pub(crate) fn send(&self, key: &IssuedKey) -> Answer {
        send(&self.manager.layer(), with_key(key.secret.expose()))
    }

    pub(crate) fn outcome(&self, key: &IssuedKey) -> String {
        self.send(key).outcome()
    }

    /// A request with this key, and whatever its use sets going in the background.
    pub(crate) async fn use_key(&self, key: &IssuedKey) {
        assert_eq!(self.outcome(key), "admitted");
        // One thread, and a store that never waits.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.clock.set(now);
    }

    pub(crate) async fn status(&self, id: KeyId) -> KeyStatus {
        self.row(id).await.status(tower_api_key::clock::Clock::now(&self.clock))
    }
}

pub(crate) fn scopes(texts: &[&str]) -> Scopes {
    Scopes::parse(texts).unwrap()
}

/// A name for an error, to compare.
pub(crate) fn why<T: std::fmt::Debug>(result: Result<T, ManageError>) -> String {
    match result.unwrap_err() {
        ManageError::Invalid(invalid) => format!("invalid {}", invalid.field()),
        ManageError::NotFound => "not found".into(),
        ManageError::RevisionMismatch => "revision mismatch".into(),
        ManageError::AlreadyCreated { key } => format!("already created {key:?}"),
        ManageError::AlreadyRotated { to } => format!("already rotated to {to}"),
        ManageError::RequestIdReused => "request id reused".into(),
        ManageError::Ended(status) => format!("ended {status}"),
        ManageError::BeyondCeiling => "beyond ceiling".into(),
        ManageError::TooManyKeys => "too many keys".into(),
        ManageError::BeyondOwnKey { field } => format!("beyond {field}"),
        other => panic!("{other:?}"),
    }
}

/// `Deprecation` and `Sunset` of a response.
pub(crate) fn retirement(response: &Response<bytes::Bytes>) -> [Option<&str>; 2] {
    ["deprecation", "sunset"].map(|name| {
        let values = header_values(response, HeaderName::from_static(name));
        assert!(values.len() <= 1, "{name} twice");
        values.first().copied()
    })
}

/// Seconds of [`NOW`].
pub(crate) fn now_in_seconds() -> i64 {
    NOW.as_unix_millis() / 1000
}
