//! Keys found under a retired pepper are stored anew under the current one.

use tower_api_key::{KeyHasher, KeyManager, KeyPatch, NewKey, Peppers, store::MemoryStore};

use crate::support::{at, clock, send, send_waiting, with_key};

const OLD: &[u8] = b"the old pepper of the tests, 32 bytes";
const NEW: &[u8] = b"the new pepper of the tests, 32 bytes";

fn managers(store: &MemoryStore) -> [KeyManager; 3] {
    let old = Peppers::new(OLD).unwrap();
    let both = Peppers::new(NEW).unwrap().with_retired(OLD).unwrap();
    let new = Peppers::new(NEW).unwrap();
    [old, both, new].map(|peppers| {
        KeyManager::new(store.clone())
            .with_clock(clock())
            .with_hasher(KeyHasher::hmac_sha256(peppers))
    })
}

/// Lets spawned work that does not wait for anything finish; there is one thread.
async fn let_others_run() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_used_key_outlives_its_pepper() {
    let store = MemoryStore::new();
    let [old, both, new] = managers(&store);
    let used = old.create(NewKey::named("used")).await.unwrap();
    let unused = old.create(NewKey::named("unused")).await.unwrap();

    assert_eq!(
        send_waiting(&new.layer(), with_key(used.secret.expose())).await.outcome(),
        "unknown_key"
    );
    assert_eq!(
        send_waiting(&both.layer(), with_key(used.secret.expose())).await.outcome(),
        "admitted"
    );
    let_others_run().await;

    let layer = new.layer();
    assert_eq!(send_waiting(&layer, with_key(used.secret.expose())).await.outcome(), "admitted");
    assert_eq!(
        send_waiting(&layer, with_key(unused.secret.expose())).await.outcome(),
        "unknown_key"
    );
    // And under the old one it is not found any more.
    let layer = old.layer();
    assert_eq!(send_waiting(&layer, with_key(used.secret.expose())).await.outcome(), "unknown_key");

    let renewed = new.get(used.record.id).await.unwrap();
    assert_eq!(renewed.revision, used.record.revision + 1);
    assert_eq!(renewed.name, used.record.name);
    assert_ne!(renewed.digest, used.record.digest);
}

/// Of before there was a pepper.
#[tokio::test]
async fn plain_digests_are_accepted_before_their_end() {
    let store = MemoryStore::new();
    let plain = KeyManager::new(store.clone()).with_clock(clock());
    let peppers = Peppers::new(NEW).unwrap().with_retired_plain(at(1_000));
    let time = clock();
    let manager = KeyManager::new(store).with_clock(time.clone());
    let layer = manager.with_hasher(KeyHasher::hmac_sha256(peppers)).layer();
    for (now, outcome) in
        [(0, "admitted"), (999, "admitted"), (1_000, "unknown_key"), (1_001, "unknown_key")]
    {
        let issued = plain.create(NewKey::named("plain")).await.unwrap();
        time.set(at(now));
        let answer = send_waiting(&layer, with_key(issued.secret.expose())).await;
        assert_eq!(answer.outcome(), outcome, "at {now}");
    }
}

/// Two nodes would store it in turns.
#[tokio::test]
async fn a_key_under_the_next_pepper_is_not_renewed() {
    let store = MemoryStore::new();
    let [_, _, new] = managers(&store);
    let issued = new.create(NewKey::named("of a node with the next pepper")).await.unwrap();
    let peppers = Peppers::new(OLD).unwrap().with_next(NEW).unwrap();
    let manager = KeyManager::new(store).with_clock(clock());
    let layer = manager.with_hasher(KeyHasher::hmac_sha256(peppers)).layer();
    let answer = send_waiting(&layer, with_key(issued.secret.expose())).await;
    assert_eq!(answer.outcome(), "admitted");
    let_others_run().await;
    assert_eq!(*new.get(issued.record.id).await.unwrap(), *issued.record);
}

#[tokio::test]
async fn a_refused_key_is_not_renewed() {
    let store = MemoryStore::new();
    let [old, both, _] = managers(&store);
    let issued = old.create(NewKey::named("disabled")).await.unwrap();
    let patch = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
    let disabled = old.update(issued.record.id, patch).await.unwrap();
    let answer = send_waiting(&both.layer(), with_key(issued.secret.expose())).await;
    assert_eq!(answer.outcome(), "disabled_key");
    let_others_run().await;
    assert_eq!(*old.get(issued.record.id).await.unwrap(), *disabled);
}

#[test]
fn without_a_runtime_the_key_works_and_is_renewed_another_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = MemoryStore::new();
    let [old, both, _] = managers(&store);
    let issued = runtime.block_on(old.create(NewKey::named("used"))).unwrap();
    assert_eq!(send(&both.layer(), with_key(issued.secret.expose())).outcome(), "admitted");
    let unchanged = runtime.block_on(old.get(issued.record.id)).unwrap();
    assert_eq!(unchanged.digest, issued.record.digest);
}
