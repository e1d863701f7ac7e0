//! What the documentation of `tower_api_key::store` says each store can do.

use tower_api_key::store::KeyRepository;

/// So none of the cases that need one is skipped.
pub(crate) async fn are_those_of_the_table(store: impl KeyRepository, keeps_events: bool) {
    assert_eq!(store.audit_log().is_some(), keeps_events);
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
