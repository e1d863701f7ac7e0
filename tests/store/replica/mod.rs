//! Stores that read from replicas, over servers of the test's own: a replica of PostgreSQL and one of
//! MariaDB or MySQL, which apply each change two seconds late.

mod caches;
mod faults;
mod pair;
mod settings;

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tower_api_key::store::{KeyRepository, KeyStore};

use crate::conformance::{digest, record};

/// Further behind than a replica is as long as it applies changes, and than a proof is old.
const LAG_BOUND: Duration = Duration::from_secs(10);

/// Far longer than anything takes, also on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Makes the tests, for each kind of server.
macro_rules! replicated {
    ($($file:ident: $case:ident)*) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$file::$case::<crate::postgres::Postgres>().await;
            })*
        }

        mod mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$file::$case::<crate::mysql::MySql>().await;
            })*
        }
    };
}

replicated! {
    caches: revoked_keys_stay_revoked
    caches: without_floors_they_would_not
    caches: new_keys_are_good_at_once
    caches: a_silent_replica_is_no_outage_of_a_cache
    faults: a_replica_that_fails_costs_no_lookup
    faults: a_replica_that_stops_is_not_asked
    faults: a_promoted_replica_is_not_asked
    faults: a_replica_answers_without_its_primary
    faults: behind_a_balancer_each_answer_proves_itself
    settings: many_nodes_write_one_beat_a_second
    settings: a_store_that_is_closed_lets_go
}

/// A number that no other key has.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Whether a replica is asked: it does not have a key that the primary has got right before.
async fn asks_replica(store: &impl KeyRepository) -> bool {
    let number = next_number();
    store.insert(&record(number)).await.unwrap();
    let found = find_many(store, number).await;
    assert!(store.find(&digest(number)).await.unwrap().is_some(), "the primary has it");
    assert!(store.find_fresh(&digest(number)).await.unwrap().is_some(), "the primary has it");
    !found
}

/// Whether a key is found as a cache looks for it. No error is.
async fn find_many(store: &impl KeyStore, number: u64) -> bool {
    let found = store.find_many(&[digest(number)]).await;
    assert_eq!(found.len(), 1);
    found.into_iter().all(|found| found.unwrap().is_some())
}

/// Comes back when it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + TIMEOUT;
    while !is_so().await {
        assert!(Instant::now() < give_up, "it never comes to be");
        sleep(Duration::from_millis(50)).await;
    }
}
