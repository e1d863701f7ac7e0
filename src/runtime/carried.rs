//! [`Carried`]: work that a caller does itself while it waits for it, and that goes on without it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle;

/// Work that its caller carries on for as long as it waits. Dropped before its end, as by a caller that
/// goes away, it goes on in a task of its own. To start a task, and to wait for it, takes many times as
/// long as most work does.
///
/// As in a task, a panic ends the work and not its caller. Where its runtime has ended, the rest of the
/// work is dropped within the drop of this: hold no lock that the work takes.
pub(crate) struct Carried<T: Send + 'static> {
    /// None: it has ended.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Handle,
}

impl<T: Send + 'static> Carried<T> {
    /// Work that has not begun.
    pub(crate) fn new(runtime: Handle, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), runtime }
    }

    /// Where it goes on without its caller.
    #[cfg(feature = "cache")]
    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Does what can be done now, and leaves the rest to a task of its own. Says whether there is none.
    pub(crate) fn begin(mut self) -> bool {
        // A task polls what it is given, so no wake is lost.
        self.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Does what can be done now: `None` is the end by a panic.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let done = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(done)) => Some(done),
            Err(_) => None,
        };
        self.work = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{runtime::Builder, sync::oneshot, task::yield_now};

    use super::*;

    fn tasks(runtime: &Handle) -> usize {
        runtime.metrics().num_alive_tasks()
    }

    #[tokio::test]
    async fn work_that_is_begun_and_not_done_has_a_task() {
        let runtime = Handle::current();
        assert!(Carried::new(runtime.clone(), async { 7 }).begin());
        assert_eq!(tasks(&runtime), 0);
        let (done, is_done) = oneshot::channel();
        let work = async move {
            // The first poll is no reason to pass over what happens before the second.
            yield_now().await;
            let _ = done.send(());
        };
        assert!(!Carried::new(runtime.clone(), work).begin());
        assert_eq!(tasks(&runtime), 1);
        is_done.await.unwrap();
    }

    fn begin<T: Send + 'static>(work: &mut Carried<T>) -> Poll<Option<T>> {
        work.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn work_that_is_waited_for_takes_no_task() {
        let runtime = Handle::current();
        let mut work = Carried::new(runtime.clone(), async {
            yield_now().await;
            7
        });
        assert!(begin(&mut work).is_pending());
        assert_eq!(poll_fn(|context| work.poll(context)).await, Some(7));
        drop(work);
        assert_eq!(tasks(&runtime), 0);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_it_to_a_task() {
        let runtime = Handle::current();
        for begins in [false, true] {
            let (go_on, waits) = oneshot::channel();
            let (done, is_done) = oneshot::channel();
            let mut work = Carried::new(runtime.clone(), async move {
                let _ = waits.await;
                let _ = done.send(());
            });
            assert!(!begins || begin(&mut work).is_pending());
            drop(work);
            assert_eq!(tasks(&runtime), 1);
            go_on.send(()).unwrap();
            is_done.await.unwrap();
        }
    }

    #[test]
    fn a_panic_ends_the_work_and_not_its_caller() {
        let runtime = Builder::new_current_thread().build().unwrap();
        for waits in [false, true] {
            let (held, is_dropped) = oneshot::channel::<()>();
            let mut work = Carried::new(runtime.handle().clone(), async move {
                let _held = held;
                if waits {
                    yield_now().await;
                }
                panic!("a bug");
            });
            let done = runtime.block_on(poll_fn(|context| work.poll(context)));
            assert_eq!(done, None);
            assert!(runtime.block_on(is_dropped).is_err());
        }
    }

    #[test]
    fn work_of_a_runtime_that_has_ended_is_dropped() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (held, is_dropped) = oneshot::channel::<()>();
        let work = Carried::new(runtime.handle().clone(), async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(runtime);
        drop(work);
        let runtime = Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(is_dropped).is_err());
    }
}
