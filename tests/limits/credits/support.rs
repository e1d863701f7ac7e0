//! Keys with credits, on a clock that stands still.

use std::sync::Arc;

use tower_api_key::{
    Credits, KeyManager, NewKey, Timestamp,
    clock::SettableClock,
    credits::{CreditsBuilder, NewCredits, Refill, SpendOutcome},
    key::KeyRecord,
    store::{KeyRepository, MemoryStore},
};

/// 2028-01-31T10:00:00Z: the months after it are shorter.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_832_925_600_000);

/// A store, its manager and a node.
pub(crate) struct Place<S = MemoryStore> {
    pub(crate) store: S,
    pub(crate) clock: SettableClock,
    pub(crate) manager: KeyManager,
    pub(crate) credits: Credits,
}

impl Place {
    pub(crate) fn new() -> Self {
        let clock = SettableClock::new(NOW);
        Self::with(MemoryStore::new().with_clock(clock.clone()), clock)
    }
}

impl<S: KeyRepository + Clone> Place<S> {
    pub(crate) fn on(store: S) -> Self {
        Self::with(store, SettableClock::new(NOW))
    }

    fn with(store: S, clock: SettableClock) -> Self {
        let manager = KeyManager::new(store.clone()).with_clock(clock.clone());
        let credits = Credits::builder(store.clone()).with_clock(clock.clone()).build().unwrap();
        Self { store, clock, manager, credits }
    }

    /// Another node.
    pub(crate) fn node(&self) -> Credits {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> CreditsBuilder {
        Credits::builder(self.store.clone()).with_clock(self.clock.clone())
    }

    pub(crate) async fn key(&self, remaining: u64) -> Arc<KeyRecord> {
        self.key_with(remaining, None).await
    }

    pub(crate) async fn key_with(&self, remaining: u64, refill: Option<Refill>) -> Arc<KeyRecord> {
        let credits = Some(NewCredits { remaining, refill });
        let new = NewKey { credits, ..NewKey::named("spends") };
        self.manager.create(new).await.unwrap().record
    }

    /// What the store has left.
    pub(crate) async fn stored(&self, key: &KeyRecord) -> u64 {
        self.manager.balance(key.id).await.unwrap().unwrap().remaining
    }
}

pub(crate) fn is_done(spend: SpendOutcome) -> bool {
    matches!(spend, SpendOutcome::Done { .. })
}

/// Spends one at a time until there is nothing left, and says how often that worked.
pub(crate) async fn spend_all(credits: &Credits, key: &KeyRecord) -> u64 {
    let mut count = 0;
    while is_done(credits.spend(key, 1).await.unwrap()) {
        count += 1;
    }
    count
}
