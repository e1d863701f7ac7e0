//! A caller that goes away at one of its awaits.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Ends with `None` once its future has been polled so often and is not done.
pub(crate) struct Cancelled<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

/// Drops this future after so many polls, of which there is at least one.
pub(crate) fn cancelled_after<F: Future>(polls: usize, future: F) -> Cancelled<F> {
    Cancelled { future: Box::pin(future), polls }
}

impl<F: Future> Future for Cancelled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.future.as_mut().poll(context).map(Some);
        self.polls -= 1;
        if answer.is_pending() && self.polls == 0 { Poll::Ready(None) } else { answer }
    }
}
