//! The cases for stores of all kinds leave out what a store says that it does not have, and only that.

use std::sync::Arc;

use async_trait::async_trait;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, AuditLog, BalanceStore, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore,
        KeyUse, KnownDigests, MemoryStore, RequestLog, SelectedChanges, StoreError, UsageLog,
        Watermarks,
    },
    testing::conformance::{self, Ability},
};

const ALL: [Ability; 8] = [
    Ability::AuditLog,
    Ability::Balances,
    Ability::KnownDigests,
    Ability::OwnerBounds,
    Ability::Requests,
    Ability::SelectedChanges,
    Ability::Usage,
    Ability::Watermarks,
];

/// A store in memory that lacks these.
#[derive(Clone)]
struct Without {
    store: MemoryStore,
    lacks: &'static [Ability],
}

impl Without {
    fn new(lacks: &'static [Ability]) -> Self {
        Self { store: MemoryStore::new(), lacks }
    }

    fn has(&self, ability: Ability) -> bool {
        !self.lacks.contains(&ability)
    }
}

#[async_trait]
impl KeyStore for Without {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.find(digest).await
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        self.store.known_digests().filter(|_| self.has(Ability::KnownDigests))
    }
}

#[async_trait]
impl KeyRepository for Without {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        // A store is never given what it says that it does not have.
        assert!(changes.balances.is_empty() || self.has(Ability::Balances));
        assert!(changes.requests.is_empty() || self.has(Ability::Requests));
        assert!(changes.owner_bound.is_none() || self.has(Ability::OwnerBounds));
        assert!(changes.watermark.is_none() || self.has(Ability::Watermarks));
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

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.store.purge(before, owner).await
    }

    fn bounds_owners(&self) -> bool {
        self.has(Ability::OwnerBounds)
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        self.store.selected_changes().filter(|_| self.has(Ability::SelectedChanges))
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        self.store.watermarks().filter(|_| self.has(Ability::Watermarks))
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.store.audit_log().filter(|_| self.has(Ability::AuditLog))
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        self.store.balance_store().filter(|_| self.has(Ability::Balances))
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        self.store.request_log().filter(|_| self.has(Ability::Requests))
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        self.store.usage_log().filter(|_| self.has(Ability::Usage))
    }
}

mod with_required_methods_alone {
    use super::*;

    tower_api_key::testing::store_conformance! { async { (Without::new(&ALL), ()) } }
}

macro_rules! without {
    ($($module:ident: $ability:ident)*) => { $(
        mod $module {
            use super::*;

            tower_api_key::testing::store_conformance! {
                async { (Without::new(&[Ability::$ability]), ()) }
            }
        }
    )* };
}

without! {
    without_audit_log: AuditLog
    without_balances: Balances
    without_known_digests: KnownDigests
    without_owner_bounds: OwnerBounds
    without_requests: Requests
    without_selected_changes: SelectedChanges
    without_usage: Usage
    without_watermarks: Watermarks
}

#[test]
fn a_case_without_what_it_needs_is_skipped() {
    for ability in ALL {
        let open = async { (Without::new(&ALL), ()) };
        conformance::run(module_path!(), "a_case", &[ability], open, async |_| panic!("{ability}"));
    }
    let open = async { None::<(MemoryStore, ())> };
    conformance::run(module_path!(), "a_case", &[], open, async |_| panic!("no store"));
}

/// Or the suite would find nothing.
#[test]
#[should_panic(expected = "the key is there")]
fn a_store_that_forgets_is_found() {
    let open = async { (Forgetful(MemoryStore::new()), ()) };
    conformance::run(module_path!(), "a_case", &[], open, async |store| {
        conformance::inserts::written_records_read_back_equal(store).await;
    });
}

struct Forgetful(MemoryStore);

#[async_trait]
impl KeyStore for Forgetful {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Forgetful {
    async fn apply(&self, _: &Changes) -> Result<ApplyOutcome, StoreError> {
        Ok(ApplyOutcome::Done)
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.0.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.0.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.0.purge(before, owner).await
    }
}
