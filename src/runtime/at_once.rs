//! [`at_once`]: answers that need no timer.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    task::Poll,
};

/// The answer of a call that need not be waited for. To make a timer takes longer than most of these.
pub(crate) async fn at_once<F: Future + ?Sized>(mut call: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match call.as_mut().poll(context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        })
    })
    .await
}

/// What is left of a call that had no answer [`at_once`], with nothing awaited since: it is not polled a
/// second time before it has said that it can go on.
pub(crate) async fn later<F: Future + ?Sized>(mut call: Pin<&mut F>) -> F::Output {
    let mut is_due = false;
    poll_fn(|context| {
        if mem::replace(&mut is_due, true) { call.as_mut().poll(context) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_call_is_polled_when_it_can_go_on_and_not_before() {
        let mut polls = 0;
        let mut waits = pin!(yield_now());
        let mut call = pin!(poll_fn(|context| {
            polls += 1;
            waits.as_mut().poll(context)
        }));
        assert_eq!(at_once(call.as_mut()).await, None);
        later(call.as_mut()).await;
        assert_eq!(polls, 2);
        assert_eq!(at_once(pin!(async { 7 })).await, Some(7));
    }
}
