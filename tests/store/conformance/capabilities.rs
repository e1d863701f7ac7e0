//! What the documentation of `tower_api_key::store` says each store can do.

use tower_api_key::store::KeyRepository;

/// The audit log is told apart by the cases of `events`.
pub(crate) async fn abilities_are_those_of_the_table(store: impl KeyRepository) {
    assert!(store.balance_store().is_some());
    assert!(store.request_log().is_some());
    assert!(store.usage_log().is_some());
    assert!(store.selected_changes().is_some());
    assert!(store.watermarks().is_some());
    assert!(store.bounds_owners());
    assert!(store.known_digests().is_some());
    let identity = store.identity().await.unwrap();
    assert!(identity.is_some() && store.identity().await.unwrap() == identity);
}
