//! [`start`]: work that goes on without its caller, and takes no task where it does not wait.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle;

/// Begins `work` here, and leaves what is not done at once to a task of its own: a caller that goes away
/// does not take it along. To start a task, and to wait for it, takes many times as long as most work
/// that is done at once.
///
/// As in a task, a panic ends the work and not its caller. Hold no lock that `work` takes. Says whether
/// the work has ended.
pub(crate) fn start(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) -> bool {
    let mut work = Box::pin(work);
    // A task polls what it is given, so no wake is lost.
    let mut context = Context::from_waker(Waker::noop());
    let begun = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
    let has_ended = !matches!(begun, Ok(Poll::Pending));
    if !has_ended {
        runtime.spawn(work);
    }
    has_ended
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use tokio::{runtime::Builder, sync::oneshot, task::yield_now};

    use super::*;

    fn tasks(runtime: &Handle) -> usize {
        runtime.metrics().num_alive_tasks()
    }

    #[tokio::test]
    async fn work_that_does_not_wait_takes_no_task() {
        let (runtime, is_done) = (Handle::current(), Arc::new(AtomicBool::new(false)));
        let done = is_done.clone();
        assert!(start(&runtime, async move { done.store(true, SeqCst) }));
        assert!(is_done.load(SeqCst));
        assert_eq!(tasks(&runtime), 0);
    }

    #[tokio::test]
    async fn work_that_waits_goes_on_by_itself() {
        let runtime = Handle::current();
        let (go_on, waits) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let has_ended = start(&runtime, async move {
            let _ = waits.await;
            let _ = done.send(());
        });
        assert!(!has_ended);
        assert_eq!(tasks(&runtime), 1);
        go_on.send(()).unwrap();
        is_done.await.unwrap();
    }

    /// The first poll is no reason to pass over what happens before the second.
    #[tokio::test]
    async fn a_wake_during_the_first_poll_is_not_lost() {
        let (done, is_done) = oneshot::channel();
        start(&Handle::current(), async move {
            yield_now().await;
            let _ = done.send(());
        });
        is_done.await.unwrap();
    }

    #[test]
    fn a_panic_ends_the_work_and_not_its_caller() {
        let runtime = Builder::new_current_thread().build().unwrap();
        for waits in [false, true] {
            let (held, is_dropped) = oneshot::channel::<()>();
            start(runtime.handle(), async move {
                let _held = held;
                if waits {
                    yield_now().await;
                }
                panic!("a bug");
            });
            assert!(runtime.block_on(is_dropped).is_err());
        }
    }
}
