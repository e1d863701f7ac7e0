//! A key is changed while threads use it, each with a front of its own: a request that begins after the
//! change is never answered with the old key, and neither is one that begins after another thread has
//! seen the new one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::task::{spawn, yield_now};

use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyId, KeyRecord},
    store::{Changes, KeyRepository, KeyStore, Lookup, MemoryStore},
};

pub(crate) fn follow_changes() {
    shuttle::future::block_on(async move {
        let (store, digest) = (MemoryStore::new(), KeyDigest::from_bytes([1; 32]));
        let (id, now) = (KeyId::from_bytes([1; 16]), Timestamp::from_unix_millis(0));
        let first = KeyRecord::new(id, digest, "a key", now);
        let changes = Changes::default().with_inserts(vec![first.clone()]);
        store.apply(&changes).await.unwrap();
        // The newest revision that a thread has seen, or that was acknowledged.
        let seen = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (store, seen) = (store.clone(), seen.clone());
            tasks.push(spawn(async move {
                for _ in 0..4 {
                    let least = seen.load(SeqCst);
                    let Some(Lookup::Found(found)) = store.find_shared(&digest) else {
                        panic!("the key is there");
                    };
                    assert!(found.revision >= least, "{} after {least}", found.revision);
                    seen.fetch_max(found.revision, SeqCst);
                    yield_now().await;
                }
            }));
        }
        let changed = store.clone();
        tasks.push(spawn(async move {
            let mut old = first;
            for revision in 1..3 {
                let new = KeyRecord { revision, ..old.clone() };
                changed.update(&old, &new).await.unwrap();
                seen.fetch_max(revision, SeqCst);
                old = new;
                yield_now().await;
            }
        }));
        for task in tasks {
            task.await.unwrap();
        }
    });
}
