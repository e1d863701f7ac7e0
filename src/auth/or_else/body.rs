//! [`OrElseBody`]: the body of either half.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::auth::ResponseBody;

pin_project! {
    /// The body of a response of an [`OrElse`](super::OrElse): of the half for keys, or of the other one.
    #[derive(Clone, Debug)]
    pub struct OrElseBody<A, B> {
        #[pin]
        half: Half<A, B>,
    }
}

pin_project! {
    #[project = HalfProjection]
    #[derive(Clone, Debug)]
    enum Half<A, B> {
        Keys { #[pin] body: ResponseBody<A> },
        Other { #[pin] body: ResponseBody<B> },
    }
}

impl<A, B> OrElseBody<A, B> {
    pub(super) const fn of_keys(body: ResponseBody<A>) -> Self {
        Self { half: Half::Keys { body } }
    }

    pub(super) const fn of_other(body: ResponseBody<B>) -> Self {
        Self { half: Half::Other { body } }
    }
}

impl<A: Default, B> Default for OrElseBody<A, B> {
    fn default() -> Self {
        Self::of_keys(ResponseBody::default())
    }
}

impl<A, B> Body for OrElseBody<A, B>
where
    A: Body,
    A::Data: From<bytes::Bytes>,
    B: Body<Data = A::Data>,
    B::Error: Into<A::Error>,
{
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().half.project() {
            HalfProjection::Keys { body } => body.poll_frame(cx),
            HalfProjection::Other { body } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.half {
            Half::Keys { body } => body.is_end_stream(),
            Half::Other { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.half {
            Half::Keys { body } => body.size_hint(),
            Half::Other { body } => body.size_hint(),
        }
    }
}
