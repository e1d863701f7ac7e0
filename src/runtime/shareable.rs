//! [`Shareable`]: carried work that others may wait for as well.

use std::{
    mem,
    task::{Context, Poll},
};

use super::{Carried, Mutex};

/// Carried work that another caller waits for as well may go on in a task of its own: a caller that
/// carries it and is not polled must not hold up the other.
pub(crate) struct Shareable<T: Send + 'static>(Mutex<State<T>>);

enum State<T: Send + 'static> {
    Carried(Carried<T>),
    /// Its caller is at it.
    Busy,
    /// The same, and is to leave it to a task then.
    Wanted,
    /// It has ended, or has a task.
    Gone,
}

impl<T: Send + 'static> Shareable<T> {
    pub(crate) fn new(work: Carried<T>) -> Self {
        Self(Mutex::new(State::Carried(work)))
    }

    /// Does what can be done now. Where the work has a task, this is never ready: what waits for its
    /// result otherwise, has it.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut work = {
            let mut state = self.0.lock();
            match mem::replace(&mut *state, State::Busy) {
                State::Carried(work) => work,
                other => {
                    *state = other;
                    return Poll::Pending;
                }
            }
        };
        // Not under the lock, which others take who must not wait.
        let done = work.poll(context);
        let mut state = self.0.lock();
        if done.is_pending() && matches!(*state, State::Busy) {
            *state = State::Carried(work);
            return Poll::Pending;
        }
        *state = State::Gone;
        drop(state);
        drop(work);
        done
    }
}

/// Work that can be left to a task, whatever its result is.
pub(crate) trait Leave: Send + Sync {
    /// Leaves the rest of the work to a task, unless it has one.
    fn leave(&self);
}

impl<T: Send + 'static> Leave for Shareable<T> {
    fn leave(&self) {
        let mut state = self.0.lock();
        let next = match *state {
            State::Carried(_) | State::Gone => State::Gone,
            State::Busy | State::Wanted => State::Wanted,
        };
        let rest = mem::replace(&mut *state, next);
        // Not under the lock: a runtime that has ended drops the work here.
        drop(state);
        drop(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
        task::Waker,
    };

    use tokio::{runtime::Handle, sync::oneshot, task::yield_now};

    use super::*;

    fn tasks(runtime: &Handle) -> usize {
        runtime.metrics().num_alive_tasks()
    }

    #[tokio::test]
    async fn another_that_waits_has_a_task_for_it() {
        let runtime = Handle::current();
        let is_done = Arc::new(AtomicBool::new(false));
        let done = is_done.clone();
        let work = Shareable::new(Carried::new(runtime.clone(), async move {
            yield_now().await;
            done.store(true, SeqCst);
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(work.poll(&mut context).is_pending());
        work.leave();
        assert_eq!(tasks(&runtime), 1);
        work.leave();
        assert!(work.poll(&mut context).is_pending(), "a task has it");
        while !is_done.load(SeqCst) {
            yield_now().await;
        }
    }

    /// As another does whose thread finds the work under way.
    #[tokio::test]
    async fn it_is_left_while_its_caller_is_at_it() {
        let runtime = Handle::current();
        let (go_on, waits) = oneshot::channel::<()>();
        let work = Arc::<Shareable<()>>::new_cyclic(|this| {
            let this = this.clone();
            Shareable::new(Carried::new(runtime.clone(), async move {
                this.upgrade().unwrap().leave();
                let _ = waits.await;
            }))
        });
        let mut context = Context::from_waker(Waker::noop());
        assert!(work.poll(&mut context).is_pending());
        assert_eq!(tasks(&runtime), 1);
        drop(go_on);
        while tasks(&runtime) > 0 {
            yield_now().await;
        }
    }
}
