//! [`before`]: work that is given up when another future ends.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

/// The answer of `work`; `None` if `end` comes before it. Where both are ready, the answer.
pub(crate) async fn before<T>(
    mut end: Pin<&mut impl Future>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => end.as_mut().poll(cx).map(|_| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_first_to_be_ready_decides() {
        let answer = |is_over: bool, is_done: bool| {
            let end = async { if is_over { ready(()).await } else { pending().await } };
            let work = async { if is_done { 7 } else { pending().await } };
            before(pin!(end), work).now_or_never()
        };
        assert_eq!(answer(false, false), None);
        assert_eq!(answer(true, false), Some(None));
        assert_eq!(answer(false, true), Some(Some(7)));
        assert_eq!(answer(true, true), Some(Some(7)));
    }
}
