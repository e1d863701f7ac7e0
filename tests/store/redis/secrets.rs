//! Where keys, digests and passwords must not be.

use tower_api_key::{
    KeyManager, NewKey,
    store::{KeyRepository, KeyStore, RedisStore, StoreErrorKind},
};

use super::{Prefix, run, server::OwnServer, texts};
use crate::{
    conformance::{digest, record},
    support::ask,
};

#[tokio::test]
async fn passwords_are_not_shown() {
    let Some(server) = OwnServer::start(&["--requirepass", "right-horse"]) else { return };
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url("right-horse")).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    let refused = RedisStore::connect(&url("wrong-horse")).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
    assert!(texts(&refused).contains("authentication failed"), "{refused:?}");
    let anonymous = RedisStore::connect(&server.url()).await.unwrap_err();
    assert_eq!(anonymous.kind(), StoreErrorKind::Unavailable);
    drop(server);
    let gone = store.insert(&record(2)).await.unwrap_err();
    let bad = RedisStore::connect("redis://:wrong-horse@127.0.0.1:port").await.unwrap_err();
    let lazy = RedisStore::new("redis://:wrong-horse@127.0.0.1:6379").unwrap();
    let said = format!("{store:?} {store:#?} {lazy:?} {:?}", KeyManager::new(store.clone()));
    for text in [said, texts(&refused), texts(&anonymous), texts(&gone), texts(&bad)] {
        assert!(!text.contains("horse"), "{text}");
    }
    assert_eq!(format!("{store:?}"), "RedisStore(api_keys)");
}

#[tokio::test]
async fn neither_redis_nor_errors_hold_a_key() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let manager = KeyManager::new(store.clone());
    let issued = manager.create(NewKey::named("shop")).await.unwrap();
    let key = issued.secret.expose();
    ask(&manager.layer(), key).await.unwrap();
    manager.revoke(issued.record.id, Some("lost")).await.unwrap();
    let secret = key.strip_prefix("key_").unwrap();
    let mut other = prefix.connect();
    for name in prefix.keys() {
        let dump: Vec<u8> = run(&mut other, &["DUMP", &name]);
        assert!(!dump.windows(secret.len()).any(|part| part == secret.as_bytes()), "{name}");
    }

    store.insert(&record(1)).await.unwrap();
    let duplicate = store.insert(&record(1)).await.unwrap_err();
    let id = record(1).id.to_string();
    let _: u64 = run(&mut other, &["HSET", &prefix.key("keys"), &id, &digest(1).to_hex()]);
    let corrupt = store.find(&digest(1)).await.unwrap_err();
    let _: u64 = run(&mut other, &["DEL", &prefix.key("digests")]);
    let _: () = run(&mut other, &["SET", &prefix.key("digests"), &digest(1).to_hex()]);
    let wrong_type = store.find(&digest(1)).await.unwrap_err();
    assert_eq!(wrong_type.kind(), StoreErrorKind::Corrupt, "{wrong_type:?}");
    for text in [texts(&duplicate), texts(&corrupt), texts(&wrong_type)] {
        assert!(!text.to_lowercase().contains(&digest(1).to_hex()), "{text}");
    }
}
