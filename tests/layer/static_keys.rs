//! Keys that the configuration names: their ids, their names, and those that can be guessed.

use tower_api_key::{
    ApiKeyLayer, ConfigError, KeyHasher, KeyId, Timestamp, key::KeyRecord, store::FixedStore,
};

use crate::support::{KEY, OTHER_KEY, send, with_key};

fn id_of(store: &FixedStore, key: &str) -> KeyId {
    send(&ApiKeyLayer::new(store.clone()), with_key(key)).key().id()
}

/// An id is public and logged. One that followed from the key would let the reader of a log test
/// guesses: here, the id of a guess is the id of every other key of that name.
#[test]
fn an_id_says_nothing_of_the_key() {
    let named = |name, key| FixedStore::new().with_key(name, key).unwrap();
    let id = id_of(&named("ADMIN_API_KEY", KEY), KEY);
    assert_eq!(id, id_of(&named("ADMIN_API_KEY", OTHER_KEY), OTHER_KEY), "the secret was replaced");
    assert_ne!(id, id_of(&named("partner", KEY), KEY));
    // The same after every start and in every version: shared limits are kept under it.
    assert_eq!(id.to_string(), "dbb42457-8ef1-8561-9c45-821a358234d9");

    let hasher = KeyHasher::sha256();
    let by_digest =
        FixedStore::new().with_digest("ADMIN_API_KEY", hasher.digest(OTHER_KEY)).unwrap();
    assert_eq!(id, id_of(&by_digest, OTHER_KEY));
}

#[test]
fn two_keys_have_two_names() {
    let twice = FixedStore::new()
        .with_key("partner", KEY)
        .and_then(|store| store.with_key("partner", OTHER_KEY));
    let name = "partner".to_owned();
    assert_eq!(twice.unwrap_err(), ConfigError::DuplicateStaticKeyName { name });

    // A record brings an id, and it is no other key's either.
    let store = FixedStore::new().with_key("partner", KEY).unwrap();
    let digest = KeyHasher::sha256().digest(OTHER_KEY);
    let record = KeyRecord::new(id_of(&store, KEY), digest, "another", Timestamp::UNIX_EPOCH);
    let name = "another".to_owned();
    let error = store.with_record(record).unwrap_err();
    assert_eq!(error, ConfigError::DuplicateStaticKeyName { name });
}

#[test]
fn keys_that_can_be_guessed_are_named() {
    let store = FixedStore::new()
        .with_key("good", KEY)
        .unwrap()
        .with_key("thought up", "admin-secret-2026")
        .unwrap()
        .with_key("repeated", "0101010101010101010101010101010101")
        .unwrap();
    assert_eq!(store.weak_keys().collect::<Vec<_>>(), ["thought up", "repeated"]);
    let error = store.refusing_weak_keys().unwrap_err().to_string();
    assert_eq!(
        error,
        "the static key \"thought up\" can be guessed: make a good one with `tower-api-key \
         generate`, or with `openssl rand -hex 32`"
    );

    let good = FixedStore::new().with_key("good", KEY).unwrap();
    assert_eq!(good.weak_keys().len(), 0);
    assert!(good.refusing_weak_keys().is_ok());
}
