//! What a node asks of the store: how often, for whom, and what happens when it fails.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tower_api_key::{
    Credits,
    credits::SpendOutcome,
    key::KeyRecord,
    manage::RotationGrace,
    store::{BalanceStore, StoreError, StoreErrorKind},
};

use super::{
    repository::{Point, Watched},
    support::{Place, is_done, spend_all},
};

impl Place {
    fn watched<F>(&self, hook: impl Fn(Point) -> F + Send + Sync + 'static) -> Credits
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        Credits::builder(Watched::new(&self.store, hook))
            .with_clock(self.clock.clone())
            .build()
            .unwrap()
    }

    /// A node whose store fails at this point while the switch is on.
    fn failing(&self, at: Point) -> (Credits, Arc<Mutex<bool>>) {
        let switch = Arc::new(Mutex::new(false));
        let fails = switch.clone();
        let credits = self.watched(move |point| {
            let fails = point == at && *fails.lock().unwrap();
            async move { if fails { Err(StoreError::timeout()) } else { Ok(()) } }
        });
        (credits, switch)
    }
}

fn kind(result: Result<SpendOutcome, StoreError>) -> StoreErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn one_call_serves_all_who_wait() {
    let place = Place::new();
    let key = place.key(1_000_000).await;
    let (store, counts) = Watched::counting(&place.store);
    let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
    let spends = join_all((0..64).map(|_| credits.spend(&key, 1))).await;
    assert!(spends.into_iter().all(|spend| is_done(spend.unwrap())));
    assert_eq!(counts.get(), (1, 1));
    // More than a node takes at a time, together.
    let other = place.key(1_000_000).await;
    let spends = join_all((0..64).map(|_| credits.spend(&other, 100))).await;
    assert!(spends.into_iter().all(|spend| is_done(spend.unwrap())));
    assert_eq!(counts.get(), (2, 2));
}

#[tokio::test]
async fn what_is_held_is_spent_without_asking() {
    let place = Place::new();
    let key = place.key(1_000_000).await;
    let (store, counts) = Watched::counting(&place.store);
    let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
    for _ in 0..256 {
        assert!(is_done(credits.spend(&key, 1).await.unwrap()));
    }
    assert_eq!(counts.get(), (1, 1));
}

#[tokio::test]
async fn while_there_is_plenty_nobody_waits() {
    let place = Place::new();
    for (cost, calls) in [(1, 25..=28), (7, 178..=192)] {
        let key = place.key(1_000_000).await;
        let (store, counts) = Watched::counting(&place.store);
        let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
        assert!(is_done(credits.spend(&key, cost).await.unwrap()));
        for _ in 0..10_000 {
            assert!(credits.spend_now(&key, cost).is_some_and(is_done));
            // As long as more arrive in time.
            tokio::task::yield_now().await;
        }
        let (reads, writes) = counts.get();
        assert!(calls.contains(&reads) && reads == writes, "{reads} {writes}");
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_loses_nothing() {
    let place = Place::new();
    let key = place.key(1_000_000).await;
    for at in [Point::BeforeRead, Point::AfterRead, Point::BeforeWrite, Point::AfterWrite] {
        let gate = Arc::new(Semaphore::new(0));
        let closed = gate.clone();
        let credits = place.watched(move |point| {
            let gate = closed.clone();
            async move {
                if point == at {
                    gate.acquire().await.unwrap().forget();
                }
                Ok(())
            }
        });
        let mut spend = Box::pin(credits.spend(&key, 1));
        assert!(spend.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::task::yield_now().await;
        drop(spend);
        gate.add_permits(Semaphore::MAX_PERMITS / 2);
        assert!(is_done(credits.spend(&key, 1).await.unwrap()), "{at:?}");
        assert_eq!(credits.held(key.lineage()), 511, "{at:?}");
        credits.close().await.unwrap();
    }
    assert_eq!(place.stored(&key).await, 999_996);
}

#[tokio::test]
async fn an_exhausted_line_asks_once_a_second() {
    let place = Place::new();
    let key = place.key(10).await;
    let (store, counts) = Watched::counting(&place.store);
    let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
    assert_eq!(spend_all(&credits, &key).await, 10);
    let (reads, _) = counts.get();
    for _ in 0..100 {
        assert!(!is_done(credits.spend(&key, 1).await.unwrap()));
    }
    assert_eq!(counts.get().0, reads);
    // Another node gives some back.
    place.clock.advance(Duration::from_secs(1));
    assert!(!is_done(credits.spend(&key, 1).await.unwrap()));
    assert_eq!(counts.get().0, reads + 1);
    place.manager.top_up(key.id, 3).await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(spend_all(&credits, &key).await, 3);
}

#[tokio::test]
async fn an_exhausted_line_asks_no_more_often_for_several_keys() {
    let place = Place::new();
    let mut keys = vec![place.key(0).await];
    for _ in 0..7 {
        let hour = RotationGrace::FromNow(Duration::from_hours(1));
        let last = keys.last().unwrap().id;
        keys.push(place.manager.rotate(last, hour).await.unwrap().record);
    }
    let (store, counts) = Watched::counting(&place.store);
    let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
    for _ in 0..10 {
        for key in &keys {
            assert!(!is_done(credits.spend(key, 1).await.unwrap()));
        }
    }
    assert_eq!(counts.get(), (4, 0));
}

#[tokio::test]
async fn what_is_held_goes_on_while_the_store_fails() {
    let place = Place::new();
    let key = place.key(1_000_000).await;
    let (credits, fails) = place.failing(Point::BeforeRead);
    assert!(is_done(credits.spend(&key, 1).await.unwrap()));
    *fails.lock().unwrap() = true;
    for _ in 0..511 {
        assert!(is_done(credits.spend(&key, 1).await.unwrap()));
    }
    assert_eq!(kind(credits.spend(&key, 1).await), StoreErrorKind::Timeout);
    *fails.lock().unwrap() = false;
    // It is not asked again at once.
    assert_eq!(kind(credits.spend(&key, 1).await), StoreErrorKind::Timeout);
    place.clock.advance(Duration::from_millis(500));
    assert!(is_done(credits.spend(&key, 1).await.unwrap()));
    assert_eq!(credits.held(key.lineage()), 511, "nothing was taken, so there is no need for care");
    credits.close().await.unwrap();
    assert_eq!(place.stored(&key).await, 1_000_000 - 513);
}

#[tokio::test]
async fn what_may_have_been_taken_counts_as_lost() {
    for (at, lost) in [(Point::BeforeWrite, 0), (Point::AfterWrite, 62 + 1)] {
        let place = Place::new();
        let key = place.key(1_000).await;
        let (credits, fails) = place.failing(at);
        *fails.lock().unwrap() = true;
        for _ in 0..2 {
            assert_eq!(kind(credits.spend(&key, 1).await), StoreErrorKind::Timeout);
            assert_eq!(credits.held(key.lineage()), 0);
            place.clock.advance(Duration::from_millis(500));
        }
        *fails.lock().unwrap() = false;
        // The second time, it took no more than it needed.
        assert_eq!(spend_all(&credits, &key).await, 1_000 - lost, "{at:?}");
    }
}

#[tokio::test]
async fn what_may_have_been_given_back_is_not_spent() {
    for (at, then) in
        [(Point::BeforeRead, 1_000), (Point::BeforeWrite, 938), (Point::AfterWrite, 999)]
    {
        let place = Place::new();
        let key = place.key(1_000).await;
        let (credits, fails) = place.failing(at);
        assert!(is_done(credits.spend(&key, 1).await.unwrap()));
        let held = credits.held(key.lineage());
        *fails.lock().unwrap() = true;
        assert_eq!(credits.close().await.unwrap_err().kind(), StoreErrorKind::Timeout);
        *fails.lock().unwrap() = false;
        let now_held = credits.held(key.lineage());
        if at == Point::BeforeRead {
            assert_eq!(now_held, held, "it surely was not");
            credits.close().await.unwrap();
            assert_eq!(place.stored(&key).await, then - 1);
        } else {
            assert_eq!(now_held, 0);
            assert_eq!(place.stored(&key).await, then, "{at:?}");
        }
    }
}

/// Nor is it asked in advance, however many spend what is left.
#[tokio::test]
async fn a_store_that_fails_is_asked_twice_a_second() {
    let place = Place::new();
    let key = place.key(1_000_000).await;
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let credits = place.watched(move |point| {
        let mut asked = count.lock().unwrap();
        *asked += u32::from(point == Point::BeforeRead);
        let fails = *asked > 1;
        async move { if fails { Err(StoreError::timeout()) } else { Ok(()) } }
    });
    for _ in 0..500 {
        assert!(is_done(credits.spend(&key, 1).await.unwrap()));
        tokio::task::yield_now().await;
    }
    assert_eq!(*asked.lock().unwrap(), 2);
    place.clock.advance(Duration::from_millis(500));
    for _ in 0..10 {
        assert!(is_done(credits.spend(&key, 1).await.unwrap()));
        tokio::task::yield_now().await;
    }
    assert_eq!(*asked.lock().unwrap(), 3);
}

#[test]
fn a_call_that_ends_with_its_runtime_is_made_again() {
    let place = Place::new();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let key = first.block_on(place.key(1_000));
    let stalls = Arc::new(Mutex::new(true));
    let is_stalled = stalls.clone();
    let credits = place.watched(move |_| {
        let stalls = *is_stalled.lock().unwrap();
        async move { if stalls { std::future::pending().await } else { Ok(()) } }
    });
    first.block_on(async {
        let mut spend = Box::pin(credits.spend(&key, 1));
        assert!(spend.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::task::yield_now().await;
    });
    drop(first);
    *stalls.lock().unwrap() = false;
    let again =
        async { tokio::time::timeout(Duration::from_mins(1), credits.spend(&key, 1)).await };
    assert!(is_done(runtime().block_on(again).unwrap().unwrap()));
    assert_eq!(credits.held(key.lineage()), 0, "the first may have taken some");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_an_error() {
    let place = Place::new();
    let key = place.key(1_000).await;
    let credits = place.watched(|_| std::future::pending());
    assert_eq!(kind(credits.spend(&key, 1).await), StoreErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_given_back() {
    let place = Place::new();
    let (idle, busy) = (place.key(100_000).await, place.key(100_000).await);
    let credits = &place.credits;
    assert!(is_done(credits.spend(&idle, 1).await.unwrap()));
    assert_eq!(credits.held(idle.lineage()), 511);
    for _ in 0..15 {
        assert!(is_done(credits.spend(&busy, 1).await.unwrap()));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(credits.held(idle.lineage()), 0);
    assert_eq!(place.stored(&idle).await, 99_999);
    assert_eq!(credits.held(busy.lineage()), 512 - 15, "taken once, and kept");
    // And taken again when it is used.
    assert!(is_done(credits.spend(&idle, 1).await.unwrap()));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(place.stored(&idle).await, 99_998);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_given_back_has_its_turn_again() {
    let place = Place::new();
    let key = place.key(100_000).await;
    let (credits, fails) = place.failing(Point::BeforeRead);
    assert!(is_done(credits.spend(&key, 1).await.unwrap()));
    *fails.lock().unwrap() = true;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(credits.held(key.lineage()), 511);
    *fails.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(place.stored(&key).await, 99_999);
}

#[tokio::test]
async fn closing_gives_many_lines_back_at_once() {
    let place = Place::new();
    let mut keys: Vec<Arc<KeyRecord>> = Vec::new();
    for _ in 0..250 {
        keys.push(place.key(1_000).await);
    }
    let (store, counts) = Watched::counting(&place.store);
    let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
    for key in &keys {
        assert!(is_done(credits.spend(key, 1).await.unwrap()));
    }
    let before = counts.get();
    credits.close().await.unwrap();
    let after = counts.get();
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 3));
    for key in &keys {
        assert_eq!((credits.held(key.lineage()), place.stored(key).await), (0, 999));
    }
    credits.close().await.unwrap();
    assert_eq!(counts.get(), after, "there is nothing left to give back");
}

/// More of them than it tries again where others are faster.
#[tokio::test]
async fn closing_gives_any_number_of_lines_back() {
    let place = Place::new();
    let mut keys: Vec<Arc<KeyRecord>> = Vec::new();
    for _ in 0..20_100 {
        keys.push(place.key(1_000).await);
        assert!(is_done(place.credits.spend(&keys[keys.len() - 1], 1).await.unwrap()));
    }
    place.credits.close().await.unwrap();
    assert_eq!(place.stored(&keys[0]).await, 999);
    assert!(keys.iter().all(|key| place.credits.held(key.lineage()) == 0));
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_where_others_are_always_faster() {
    let place = Place::new();
    let key = place.key(1_000).await;
    let (manager, id) = (place.manager.clone(), key.id);
    let interferes = Arc::new(Mutex::new(false));
    let switch = interferes.clone();
    let credits = place.watched(move |point| {
        let interferes = point == Point::BeforeWrite && *switch.lock().unwrap();
        let manager = manager.clone();
        async move {
            if interferes {
                manager.top_up(id, 1).await.unwrap();
            }
            Ok(())
        }
    });
    assert!(is_done(credits.spend(&key, 1).await.unwrap()));
    let held = credits.held(key.lineage());
    *interferes.lock().unwrap() = true;
    assert_eq!(credits.close().await.unwrap_err().kind(), StoreErrorKind::Overloaded);
    assert_eq!(credits.held(key.lineage()), held);
    *interferes.lock().unwrap() = false;
    credits.close().await.unwrap();
    assert_eq!(place.stored(&key).await, 999 + 200);
}

#[tokio::test]
async fn giving_back_many_lines_succeeds_while_others_change_some() {
    let place = Place::new();
    let (first, second) = (place.key(1_000).await, place.key(1_000).await);
    let (store, manager, id) = (place.store.clone(), place.manager.clone(), first.id);
    let interferes = Arc::new(Mutex::new(false));
    let switch = interferes.clone();
    let credits = place.watched(move |point| {
        let interferes =
            point == Point::BeforeWrite && std::mem::take(&mut *switch.lock().unwrap());
        let (store, manager) = (store.clone(), manager.clone());
        async move {
            if interferes {
                let before = store.balances(&[id]).await?;
                manager.top_up(id, 1).await.unwrap();
                assert_ne!(store.balances(&[id]).await?, before);
            }
            Ok(())
        }
    });
    for key in [&first, &second] {
        assert!(is_done(credits.spend(key, 1).await.unwrap()));
    }
    *interferes.lock().unwrap() = true;
    credits.close().await.unwrap();
    assert_eq!((place.stored(&first).await, place.stored(&second).await), (1_000, 999));
}

#[tokio::test]
async fn a_give_back_on_its_way_is_waited_for() {
    let place = Place::new();
    let key = place.key(10).await;
    let node = place.node();
    assert!(is_done(node.spend(&key, 1).await.unwrap()));
    place.credits.spend(&key, 9).await.unwrap();
    place.credits.give_back(&key, 9);
    let mut close = Box::pin(place.credits.close());
    assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // The task has not run yet, or has: whoever wants the credits gets them.
    assert!(is_done(place.credits.spend(&key, 9).await.unwrap()));
    close.await.unwrap();
    assert_eq!(place.stored(&key).await, 0);
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Place::new();
    let key = runtime.block_on(place.key(10));
    let mut spend = Box::pin(place.credits.spend(&key, 1));
    let std::task::Poll::Ready(result) =
        spend.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("there is nothing to wait for");
    };
    assert_eq!(kind(result), StoreErrorKind::Unavailable);
}
