//! Callers join a shared call while it ends: each gets its answer, and none waits for ever.

use std::sync::Arc;

use tokio::task::{JoinHandle, spawn};

use crate::runtime::{Mutex, SharedCall, Waiter};

/// As engines keep it: found under a lock, taken out before it ends.
type Place = Arc<Mutex<Option<SharedCall<u32>>>>;

pub(crate) fn is_answered() {
    run(|call| call.answer(7), Some(7));
}

pub(crate) fn is_given_up() {
    run(drop, None);
}

fn run(end: fn(SharedCall<u32>), answer: Option<u32>) {
    shuttle::future::block_on(async move {
        let (call, first) = SharedCall::new();
        let place: Place = Arc::new(Mutex::new(Some(call)));
        let mut waiting = vec![wait(first.clone(), answer), wait(first, answer)];
        let joining = [0; 2].map(|_| {
            let place = place.clone();
            spawn(async move {
                let waiter = place.lock().as_ref().map(SharedCall::join);
                if let Some(mut waiter) = waiter {
                    assert_eq!(waiter.answer().await, answer);
                    assert_eq!(waiter.answer().await, answer, "asked again");
                }
            })
        });
        waiting.extend(joining);
        // A caller that goes away takes nothing along.
        let leaving = place.lock().as_ref().map(SharedCall::join);
        let leaving = leaving.map(|waiter| wait(waiter, answer));
        let ending = spawn(async move {
            let call = place.lock().take();
            end(call.expect("it is ended once"));
        });
        if let Some(leaving) = leaving {
            leaving.abort();
        }
        ending.await.unwrap();
        for waiting in waiting {
            waiting.await.unwrap();
        }
    });
}

fn wait(mut waiter: Waiter<u32>, answer: Option<u32>) -> JoinHandle<()> {
    spawn(async move { assert_eq!(waiter.answer().await, answer) })
}
