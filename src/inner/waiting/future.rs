//! [`GatedFuture`]: the response, after waiting if need be.

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

use super::{Gate, Verdict};
use crate::{auth::ResponseBody, limit::LimitReport};

pin_project! {
    /// The response of a [`Gated`](super::Gated) service.
    #[must_use = "a future does nothing unless it is polled"]
    pub struct GatedFuture<S, B, G>
    where
        S: Service<Request<B>>,
        G: Gate,
    {
        #[pin]
        state: State<S, B, G, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, G, F>
    where
        G: Gate,
    {
        // Boxed: a request and a service are large, and few requests wait.
        Waiting { parked: Option<Box<Parked<S, B, G>>> },
        Inner { report: Option<LimitReport>, #[pin] future: F },
        Denied { response: Option<Response<Bytes>> },
    }
}

/// A request that waits, with the service that was polled ready for it.
struct Parked<S, B, G: Gate> {
    gate: Arc<G>,
    service: S,
    request: Request<B>,
    answer: AnswerFuture<G>,
}

type AnswerFuture<G> = Pin<Box<dyn Future<Output = <G as Gate>::Answer> + Send>>;

impl<S, B, G> GatedFuture<S, B, G>
where
    S: Service<Request<B>>,
    G: Gate,
{
    pub(super) fn admitted(future: S::Future, report: Option<LimitReport>) -> Self {
        Self { state: State::Inner { report, future } }
    }

    pub(super) fn denied(response: Response<Bytes>) -> Self {
        Self { state: State::Denied { response: Some(response) } }
    }

    pub(super) fn waiting(
        gate: Arc<G>,
        service: S,
        request: Request<B>,
        answer: AnswerFuture<G>,
    ) -> Self {
        let parked = Parked { gate, service, request, answer };
        Self { state: State::Waiting { parked: Some(Box::new(parked)) } }
    }
}

impl<S, B, G, ResBody> Future for GatedFuture<S, B, G>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    G: Gate,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { report, future } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(report) = report {
                        report.apply(response.headers_mut());
                    }
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

const POLLED_AFTER_COMPLETION: &str = "`GatedFuture` polled after completion";

/// Goes on once the answer is there.
fn resume<S, B, G>(
    slot: &mut Option<Box<Parked<S, B, G>>>,
    cx: &mut Context<'_>,
) -> Poll<GatedFuture<S, B, G>>
where
    S: Service<Request<B>>,
    G: Gate,
{
    let mut parked = slot.take().expect(POLLED_AFTER_COMPLETION);
    let Poll::Ready(answer) = parked.answer.as_mut().poll(cx) else {
        *slot = Some(parked);
        return Poll::Pending;
    };
    let Parked { gate, mut service, mut request, .. } = *parked;
    Poll::Ready(match gate.settle(&mut request, answer) {
        Verdict::Admit(report) => GatedFuture::admitted(service.call(request), report),
        Verdict::Deny(response) => GatedFuture::denied(response),
        Verdict::Wait(answer) => GatedFuture::waiting(gate, service, request, answer),
    })
}

impl<S, B, G> fmt::Debug for GatedFuture<S, B, G>
where
    S: Service<Request<B>>,
    G: Gate,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Waiting { .. } => "GatedFuture::Waiting",
            State::Inner { .. } => "GatedFuture::Inner",
            State::Denied { .. } => "GatedFuture::Denied",
        })
    }
}
