//! Lookups keep a connection, and no other user of the pool misses it.

use std::pin::pin;

use futures_util::FutureExt;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::{IDLE, LONGEST};
use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyId, KeyRecord},
    store::{Changes, KeyRepository, KeyStore, SqliteStore},
};

const DIGEST: KeyDigest = KeyDigest::from_bytes([7; 32]);

/// A store with one key, and its pool of so many connections.
async fn store(connections: u32) -> (SqliteStore, SqlitePool, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.db");
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(connections);
    let pool = pool.connect_with(options).await.unwrap();
    let store = SqliteStore::from_pool(pool.clone());
    store.migrate().await.unwrap();
    let id = KeyId::from_bytes([1; 16]);
    let record = KeyRecord::new(id, DIGEST, "key", Timestamp::UNIX_EPOCH);
    store.apply(&Changes::default().with_inserts(vec![record])).await.unwrap();
    all_are_back(&pool).await;
    (store, pool, directory)
}

async fn find(store: &SqliteStore) {
    assert!(store.find(&DIGEST).await.unwrap().is_some());
}

/// How many connections are in use, or kept.
fn lent(pool: &SqlitePool) -> usize {
    usize::try_from(pool.size()).unwrap() - pool.num_idle()
}

async fn all_are_back(pool: &SqlitePool) {
    let start = Instant::now();
    while lent(pool) > 0 {
        assert!(start.elapsed().as_secs() < 10, "{} of {} are away", lent(pool), pool.size());
        sleep(IDLE / 2).await;
    }
}

#[tokio::test]
async fn lookups_one_after_the_other_have_one_connection() {
    let (store, pool, _directory) = store(4).await;
    for _ in 0..20 {
        find(&store).await;
    }
    assert_eq!(lent(&pool), 1);
    all_are_back(&pool).await;
    find(&store).await;
}

/// However busy it is.
#[tokio::test]
async fn it_goes_back_after_a_while() {
    let (store, pool, _directory) = store(4).await;
    let (start, mut is_back) = (Instant::now(), false);
    while start.elapsed() < 5 * LONGEST {
        find(&store).await;
        // Given back, it is tested by a task.
        is_back |= store.0.kept.0.kept.lock().is_none();
    }
    assert!(is_back);
    all_are_back(&pool).await;
}

#[tokio::test]
async fn other_users_of_the_pool_do_not_miss_it() {
    for connections in [1, 2] {
        let (store, pool, _directory) = store(connections).await;
        let mut others = Vec::new();
        for _ in 1..connections {
            others.push(pool.acquire().await.unwrap());
        }
        for _ in 0..10 {
            find(&store).await;
            assert!(store.0.kept.0.kept.lock().is_none(), "there is no other");
        }
        others.push(pool.acquire().await.unwrap());
    }
}

#[tokio::test]
async fn a_pool_that_is_closed_has_it_back() {
    let (store, pool, _directory) = store(4).await;
    find(&store).await;
    timeout(10 * LONGEST, store.close()).await.expect("nothing is kept from it");
    assert!(pool.is_closed() && store.find(&DIGEST).await.is_err());
}

/// A lookup that goes away at whatever point gives its connection back, in order.
#[tokio::test]
async fn a_lookup_that_goes_away_keeps_nothing() {
    let (store, pool, _directory) = store(2).await;
    for is_kept in [false, true] {
        for polls in 0..20 {
            if is_kept {
                find(&store).await;
            }
            {
                let mut finding = pin!(store.find(&DIGEST));
                for _ in 0..polls {
                    if (&mut finding).now_or_never().is_some() {
                        break;
                    }
                    yield_now().await;
                }
            }
            find(&store).await;
            all_are_back(&pool).await;
        }
    }
}

#[test]
fn a_runtime_that_ends_takes_it_along() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (store, pool, _directory) = first.block_on(async {
        let all = store(4).await;
        find(&all.0).await;
        all
    });
    drop(first);
    assert!(store.0.kept.0.kept.lock().is_none());
    runtime().block_on(async {
        find(&store).await;
        all_are_back(&pool).await;
    });
    drop(store);
}
