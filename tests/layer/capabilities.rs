//! What needs a store that can do more than keep keys is refused when it is built.

use std::sync::Arc;

use tower_api_key::{
    ConfigError, Credits, KeyManager, UsageRecorder,
    store::{KeyRepository, LocalInvalidations, MemoryStore},
};

use crate::plain_store::Plain;

/// The setting, and what building it over this store says.
fn built(store: &(impl KeyRepository + Clone)) -> [(&'static str, Option<ConfigError>); 4] {
    let manager = || KeyManager::new(store.clone());
    let announcing = manager().with_invalidations(LocalInvalidations::new());
    [
        ("Credits", Credits::new(store.clone()).err()),
        ("UsageRecorder", UsageRecorder::new(store.clone()).err()),
        ("KeyManager::with_max_keys_per_owner", manager().with_max_keys_per_owner(1).err()),
        ("KeyManager::with_max_keys_per_owner", announcing.with_max_keys_per_owner(1).err()),
    ]
}

fn assert_refused(built: [(&'static str, Option<ConfigError>); 4]) {
    for (expected, error) in built {
        let Some(ConfigError::StoreCapability { setting, .. }) = error else {
            panic!("{expected}: {error:?}")
        };
        assert_eq!(setting, expected);
    }
}

#[tokio::test]
async fn a_store_without_an_ability_is_refused_when_an_engine_is_built() {
    let plain: Arc<dyn KeyRepository> = Arc::new(Plain::default());
    assert_refused(built(&Plain::default()));
    assert_refused(built(&plain));
    #[cfg(feature = "cache")]
    assert_refused(built(&tower_api_key::store::CachedStore::new(Plain::default())));
}

#[tokio::test]
async fn a_store_with_the_ability_is_not() {
    let memory = MemoryStore::new();
    for (setting, error) in built(&memory) {
        assert_eq!(error, None, "{setting}");
    }
    #[cfg(feature = "cache")]
    for (setting, error) in built(&tower_api_key::store::CachedStore::new(memory)) {
        assert_eq!(error, None, "{setting}");
    }
}

/// A wrapper does not claim what the store inside it lacks.
#[tokio::test]
async fn a_wrapper_can_do_what_its_store_can() {
    fn abilities(store: &impl KeyRepository) -> [bool; 6] {
        [
            store.audit_log().is_some(),
            store.balance_store().is_some(),
            store.request_log().is_some(),
            store.usage_log().is_some(),
            store.selected_changes().is_some(),
            store.bounds_owners(),
        ]
    }
    assert_eq!(abilities(&Arc::new(Plain::default())), [false; 6]);
    assert_eq!(abilities(&Arc::new(MemoryStore::new())), [true; 6]);
    #[cfg(feature = "cache")]
    {
        use tower_api_key::store::CachedStore;
        assert_eq!(abilities(&CachedStore::new(Plain::default())), [false; 6]);
        assert_eq!(abilities(&CachedStore::new(MemoryStore::new())), [true; 6]);
    }
}

#[test]
fn the_error_names_the_setting_what_is_lacking_and_the_remedy() {
    let said = built(&Plain::default()).map(|(_, error)| error.unwrap().to_string());
    assert_eq!(
        said[..3],
        [
            "`Credits` cannot be used with this store, which keeps no balances \
             (`balance_store`): leave credits out, or use a store that keeps them",
            "`UsageRecorder` cannot be used with this store, which keeps no counts by hour \
             (`usage_log`): use `UsageRecorderBuilder::totals_only`, or a store that keeps them",
            "`KeyManager::with_max_keys_per_owner` cannot be used with this store, which does not \
             count the keys of an owner (`bounds_owners`): leave the setting out, or use a store \
             that counts them",
        ]
    );
}
