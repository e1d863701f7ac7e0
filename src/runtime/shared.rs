//! One call for all callers that wait for the same thing (single-flight).

#[cfg(feature = "legacy-hashes")]
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A call that is under way, for the task that makes it. Dropped without an answer, as by a panic or
/// with its runtime, it is given up.
///
/// The call is made in a task of its own: a caller that goes away takes no other caller's answer
/// along.
pub(crate) struct SharedCall<T>(watch::Sender<Option<T>>);

/// A caller that waits for the answer of a [`SharedCall`].
#[derive(Clone)]
pub(crate) struct Waiter<T>(watch::Receiver<Option<T>>);

impl<T> SharedCall<T> {
    pub(crate) fn new() -> (Self, Waiter<T>) {
        let (answer, waiter) = watch::channel(None);
        (Self(answer), Waiter(waiter))
    }

    /// For another caller.
    pub(crate) fn join(&self) -> Waiter<T> {
        Waiter(self.0.subscribe())
    }

    /// Gives the answer to all waiters.
    pub(crate) fn answer(self, answer: T) {
        self.0.send_replace(Some(answer));
    }
}

#[cfg(feature = "legacy-hashes")]
impl<T: Send + Sync + 'static> SharedCall<T> {
    /// Makes the call. A runtime that ends drops it within this function: hold no lock that it takes.
    pub(crate) fn start(self, runtime: &Handle, call: impl Future<Output = T> + Send + 'static) {
        self.start_or_give_up(runtime, async move { Some(call.await) });
    }

    /// The same for a call that may give itself up.
    pub(crate) fn start_or_give_up(
        self,
        runtime: &Handle,
        call: impl Future<Output = Option<T>> + Send + 'static,
    ) {
        runtime.spawn(async move {
            if let Some(answer) = call.await {
                self.answer(answer);
            }
        });
    }
}

impl<T: Clone> Waiter<T> {
    /// The answer; `None` if the call was given up.
    pub(crate) async fn answer(&mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(feature = "legacy-hashes")]
impl<T> Waiter<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_get_the_answer() {
        let (call, mut first) = SharedCall::new();
        let mut second = call.join();
        let mut third = first.clone();
        call.answer(7);
        for waiter in [&mut first, &mut second, &mut third] {
            assert_eq!(waiter.answer().await, Some(7));
        }
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_has_no_answer() {
        let (call, mut waiter) = SharedCall::<u8>::new();
        drop(call);
        assert_eq!(waiter.answer().await, None);
    }
}
