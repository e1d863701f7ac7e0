//! A thing changes while it is looked up, and the cache is told to forget it: a request that begins
//! after that is never answered with the old thing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::task::{spawn, yield_now};

use crate::{
    runtime::MapDigest,
    store::{
        Lookup, StoreError,
        cache::{Answer, Cache, Claim, Settings},
    },
};

pub(crate) fn forgets() {
    run(Cache::forget);
}

pub(crate) fn distrusts() {
    run(|cache, _| cache.distrust());
}

type Things = Cache<MapDigest, u64, StoreError>;

fn run(forget: fn(&Things, &MapDigest)) {
    shuttle::future::block_on(async move {
        let key = MapDigest::from(&crate::key::KeyDigest::from_bytes([1; 32]));
        let cache: Arc<Things> =
            Arc::new(Cache::new(Settings { capacity: 8, ..Settings::default() }));
        // A version as the source has it, and the one that the cache was told of.
        let (source, told) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (cache, source, told) = (cache.clone(), source.clone(), told.clone());
            tasks.push(spawn(async move {
                for _ in 0..3 {
                    let least = told.load(SeqCst);
                    let found = find(&cache, &key, &source).await;
                    assert!(found >= least, "version {found}, when {least} was told of");
                }
            }));
        }
        let cached = cache.clone();
        tasks.push(spawn(async move {
            for version in 2..4 {
                source.store(version, SeqCst);
                yield_now().await;
                forget(&cached, &key);
                told.store(version, SeqCst);
                yield_now().await;
            }
        }));
        for task in tasks {
            task.await.unwrap();
        }
        crate::no_other_holds(&cache).await;
    });
}

async fn find(cache: &Arc<Things>, key: &MapDigest, source: &Arc<AtomicU64>) -> u64 {
    let ask = || {
        let source = source.clone();
        async move {
            yield_now().await;
            let found = source.load(SeqCst);
            yield_now().await;
            Answer::Ok(Some(found))
        }
    };
    if let Some(Lookup::Found(found)) = cache.find_now(key, ask) {
        return found;
    }
    cache.look_up(key, Claim::default, ask).await.unwrap().expect("it exists")
}
