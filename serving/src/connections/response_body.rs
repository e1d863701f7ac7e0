//! The body of an answer, which is seen to be taken.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use super::activity::Busy;

/// A large part of an answer counts as taken when the next one is asked for. Over HTTP/2 the
/// client says how much it takes, so parts are small.
const PART: usize = 16 * 1024;

/// An answer on its way, and the request with it.
pub(super) struct Sending {
    body: Body,
    /// Of the part that the body gave last.
    left: Bytes,
    busy: Busy,
}

impl Sending {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, left: Bytes::new(), busy }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.busy.sends();
        if this.left.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.left = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        // The last byte goes alone. Over HTTP/2, it waits until the client has room for all before
        // it, and until then the request is there.
        let left = this.left.len();
        let is_last = (2..=PART).contains(&left) && this.body.is_end_stream();
        let part = this.left.split_to(if is_last { left - 1 } else { left.min(PART) });
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + left);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}
