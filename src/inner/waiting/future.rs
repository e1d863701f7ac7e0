//! [`WaitingFuture`]: the response, after waiting if need be.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Next, Report, WaitingLayer};
use crate::{
    auth::{ResponseBody, WouldDeny, shadow::InShadow},
    request::RequestHead,
};

pin_project! {
    /// The response of a [`WaitingService`](super::WaitingService).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct WaitingFuture<S, B, L>
    where
        S: Service<Request<B>>,
        L: WaitingLayer,
    {
        #[pin]
        state: State<S, B, L, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, L, F>
    where
        L: WaitingLayer,
    {
        // Boxed: a request and a service are large, and few requests wait.
        Waiting { parked: Option<Box<Parked<S, B, L>>> },
        Inner { report: L::Report, #[pin] future: F },
        InShadow { would_deny: Option<WouldDeny>, #[pin] future: F },
        Denied { response: Option<Response<Bytes>> },
    }
}

/// A request that waits, with the service that was polled ready for it.
struct Parked<S, B, L: WaitingLayer> {
    layer: Arc<L>,
    service: S,
    request: Request<B>,
    answer: AnswerFuture<L>,
}

type AnswerFuture<L> = Pin<Box<dyn Future<Output = <L as WaitingLayer>::Answer> + Send>>;

impl<S, B, L> WaitingFuture<S, B, L>
where
    S: Service<Request<B>>,
    L: WaitingLayer,
{
    pub(super) fn admitted(future: S::Future, report: L::Report) -> Self {
        Self { state: State::Inner { report, future } }
    }

    pub(super) fn in_shadow(future: S::Future, would_deny: Option<WouldDeny>) -> Self {
        Self { state: State::InShadow { would_deny, future } }
    }

    pub(super) fn denied(response: Response<Bytes>) -> Self {
        Self { state: State::Denied { response: Some(response) } }
    }

    pub(super) fn waiting(
        layer: Arc<L>,
        service: S,
        request: Request<B>,
        answer: AnswerFuture<L>,
    ) -> Self {
        let parked = Parked { layer, service, request, answer };
        Self { state: State::Waiting { parked: Some(Box::new(parked)) } }
    }
}

impl<S, B, L, ResBody> Future for WaitingFuture<S, B, L>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    L: WaitingLayer,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { report, future } => {
                    let mut response = ready!(future.poll(cx))?;
                    report.apply(response.headers_mut());
                    return Poll::Ready(Ok(response.map(ResponseBody::from)));
                }
                StateProjection::InShadow { would_deny, future } => {
                    let mut response = ready!(future.poll(cx))?;
                    InShadow::tell(would_deny.take(), response.extensions_mut());
                    return Poll::Ready(Ok(response.map(ResponseBody::from)));
                }
                StateProjection::Denied { response } => {
                    let response = response.take().expect(POLLED_AFTER_COMPLETION);
                    return Poll::Ready(Ok(response.map(ResponseBody::denial)));
                }
                StateProjection::Waiting { parked } => ready!(resume(parked, cx)),
            };
            self.set(next);
        }
    }
}

const POLLED_AFTER_COMPLETION: &str = "`WaitingFuture` polled after completion";

/// Goes on once the answer is there.
fn resume<S, B, L>(
    slot: &mut Option<Box<Parked<S, B, L>>>,
    cx: &mut Context<'_>,
) -> Poll<WaitingFuture<S, B, L>>
where
    S: Service<Request<B>>,
    L: WaitingLayer,
{
    let mut parked = slot.take().expect(POLLED_AFTER_COMPLETION);
    let Poll::Ready(answer) = parked.answer.as_mut().poll(cx) else {
        *slot = Some(parked);
        return Poll::Pending;
    };
    let Parked { layer, mut service, mut request, .. } = *parked;
    Poll::Ready(match layer.settle(&mut request, answer) {
        Next::Admit(report) => WaitingFuture::admitted(service.call(request), report),
        Next::Deny(denial) => WaitingFuture::denied(denial.response(&RequestHead::from(&request))),
        Next::Wait(answer) => WaitingFuture::waiting(layer, service, request, answer),
    })
}

impl<S, B, L> fmt::Debug for WaitingFuture<S, B, L>
where
    S: Service<Request<B>>,
    L: WaitingLayer,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Waiting { .. } => "WaitingFuture::Waiting",
            State::Inner { .. } => "WaitingFuture::Inner",
            State::InShadow { .. } => "WaitingFuture::InShadow",
            State::Denied { .. } => "WaitingFuture::Denied",
        })
    }
}
