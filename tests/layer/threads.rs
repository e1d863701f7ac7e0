//! Threads keep answers of their own. None of them goes on with a key that another one has changed.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey,
    manage::KeyPatch,
    store::{FixedStore, KeyStore, Lookup, MemoryStore},
};

use crate::support::{KEY, record, send, with_key};

const THREADS: usize = 4;

/// What all threads answer to the key, again and again, each time after one more change.
fn outcomes(layer: &ApiKeyLayer, key: &str, changes: &[&(dyn Fn() + Sync)]) -> Vec<Vec<String>> {
    let barrier = Arc::new(Barrier::new(THREADS + 1));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let barrier = barrier.clone();
                scope.spawn(move || {
                    let ask = || {
                        barrier.wait();
                        let outcomes: Vec<String> =
                            (0..3).map(|_| send(layer, with_key(key)).outcome()).collect();
                        barrier.wait();
                        assert!(outcomes.iter().all(|one| *one == outcomes[0]), "{outcomes:?}");
                        outcomes[0].clone()
                    };
                    (0..=changes.len()).map(|_| ask()).collect::<Vec<_>>()
                })
            })
            .collect();
        for change in 0..=changes.len() {
            barrier.wait();
            barrier.wait();
            if let Some(change) = changes.get(change) {
                change();
            }
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Disabled, enabled, revoked.
fn change_in_turns(manager: &KeyManager, layer: &ApiKeyLayer) {
    let issued = block_on(manager.create(NewKey::named("shared by threads"))).unwrap();
    let id = issued.record.id;
    let all = outcomes(
        layer,
        issued.secret.expose(),
        &[
            &|| drop(block_on(manager.disable(id)).unwrap()),
            &|| drop(block_on(manager.enable(id)).unwrap()),
            &|| drop(block_on(manager.update(id, other_name())).unwrap()),
            &|| drop(block_on(manager.revoke(id, None)).unwrap()),
        ],
    );
    for outcomes in all {
        assert_eq!(outcomes, ["admitted", "disabled_key", "admitted", "admitted", "revoked_key"],);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_change_in_memory_is_seen_by_every_thread() {
    let manager = KeyManager::new(MemoryStore::new());
    change_in_turns(&manager, &manager.layer());
}

#[test]
fn a_static_store_that_is_copied_and_added_to_is_another_one() {
    let one = FixedStore::new().with_record(record(KEY)).unwrap();
    let digest = record(KEY).digest;
    assert!(matches!(one.find_shared(&digest), Some(Lookup::Found(_))));
    let empty = FixedStore::new();
    let other = empty.clone().with_record(record(KEY)).unwrap();
    assert!(matches!(other.find_shared(&digest), Some(Lookup::Found(_))));
    assert!(matches!(empty.find_shared(&digest), Some(Lookup::NotFound)));
}

fn other_name() -> KeyPatch {
    KeyPatch { name: Some("other".into()), ..KeyPatch::default() }
}
