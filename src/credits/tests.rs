//! What only the inside shows.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::{
    clock::{SettableClock, Timestamp},
    key::NewCredits,
    manage::{KeyManager, NewKey},
    runtime::act_as_thread,
    store::MemoryStore,
};

async fn key(manager: &KeyManager, remaining: u64) -> Arc<KeyRecord> {
    let credits = Some(NewCredits { remaining, refill: None });
    manager.create(NewKey { credits, ..NewKey::named("test") }).await.unwrap().record
}

fn place() -> (SettableClock, KeyManager, Credits) {
    let clock = SettableClock::new(Timestamp::UNIX_EPOCH);
    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone()).with_clock(clock.clone());
    (clock.clone(), manager, Credits::builder(store).with_clock(clock).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn lineages_that_hold_and_know_nothing_are_forgotten_and_the_task_ends() {
    let (clock, manager, credits) = place();
    for remaining in [0, 1, 100_000] {
        for _ in 0..100 {
            let key = key(&manager, remaining).await;
            credits.spend(&key, 1).await.unwrap();
        }
    }
    let count = || credits.inner.accounts.filter(|_| true).len();
    assert_eq!(count(), 300);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Those that were found exhausted are remembered for a second, by a clock that stands still.
    assert_eq!(count(), 200);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(count(), 100);
    clock.advance(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(credits.inner.accounts.is_empty());
    assert_eq!(Arc::weak_count(&credits.inner), 0, "no task sweeps any more");

    // And begins again.
    let key = key(&manager, 100_000).await;
    credits.spend(&key, 1).await.unwrap();
    assert_eq!(Arc::weak_count(&credits.inner), 1);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_of_the_credits() {
    let (_, manager, credits) = place();
    let key = key(&manager, 100_000).await;
    credits.spend(&key, 1).await.unwrap();
    let ledger = Arc::downgrade(&credits.inner.ledger);
    drop(credits);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ledger.strong_count(), 0);
}

#[test]
fn a_runtime_that_ends_leaves_the_next_one_its_task() {
    let (_, manager, credits) = place();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let key = first.block_on(key(&manager, 100_000));
    first.block_on(credits.spend(&key, 1)).unwrap();
    drop(first);
    assert_eq!(credits.held(key.lineage()), 511);
    runtime().block_on(async {
        // More than is held, so that the store is asked.
        credits.spend(&key, 512).await.unwrap();
        tokio::time::sleep(Duration::from_secs(15)).await;
    });
    assert_eq!(credits.held(key.lineage()), 0);
}

#[test]
fn a_cost_is_one_or_what_the_request_says() {
    let credits = || Credits::builder(MemoryStore::new());
    let request = http::Request::get("/export").body(()).unwrap();
    let head = RequestHead::from(&request);
    assert_eq!(credits().build().unwrap().cost(&head), 1);
    let credits = credits().with_cost(|request| request.uri.path().len() as u64).build().unwrap();
    assert_eq!(credits.cost(&head), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever threads hold, all credits are spent, and none twice. One thread is told of what is
    /// left as if it held none apart.
    #[test]
    fn what_threads_hold_is_spent_once(
        threads in 1..=4_usize, lease in 1..4_000_u64, granted in 0..20_000_u64,
        steps in prop::collection::vec((0..4_usize, 1..6_u64, 1..300_u32, 0..20_u32), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let store = MemoryStore::new();
            let manager = KeyManager::new(store.clone());
            let credits = Credits::builder(store).with_lease(NonZeroU64::new(lease).unwrap());
            let credits = credits.build().unwrap();
            let key = key(&manager, granted).await;
            let mut left = granted;
            for (thread, cost, times, after) in steps.iter().cycle() {
                act_as_thread(thread % threads);
                for _ in 0..*times {
                    match credits.spend(&key, *cost).await.unwrap() {
                        SpendOutcome::Done { remaining } => {
                            prop_assert!(*cost <= left);
                            left -= cost;
                            prop_assert!(remaining >= left);
                            prop_assert!(threads > 1 || remaining == left, "{remaining} of {left}");
                        }
                        SpendOutcome::Short { remaining, .. } => {
                            prop_assert!(*cost > left);
                            prop_assert_eq!(remaining, left);
                        }
                    }
                }
                match after {
                    0 => credits.give_back(&key, 0),
                    1 => credits.recall(key.lineage()).await.unwrap(),
                    2 => {
                        credits.close().await.unwrap();
                        prop_assert_eq!(credits.held(key.lineage()), 0);
                    }
                    3 if left < granted => {
                        credits.give_back(&key, 1);
                        left += 1;
                    }
                    _ => {}
                }
                if left < 6 {
                    break;
                }
            }
            Ok(())
        });
        outcome?;
    }
}
