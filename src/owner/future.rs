//! [`ResolveOwnerFuture`]: the response, after waiting for the resolver if need be.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    layer::{AnswerFuture, Config},
    service::Verdict,
};

pin_project! {
    /// The response of a [`ResolveOwner`](super::ResolveOwner).
    pub struct ResolveOwnerFuture<S, B, T>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, T, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, T, F> {
        // Boxed: a request and a service are large, and few requests wait.
        Waiting { parked: Option<Box<Parked<S, B, T>>> },
        Inner { #[pin] future: F },
        Denied { response: Option<Response<Full<Bytes>>> },
    }
}

/// A request that waits for the resolver, with the service that was polled ready for it.
struct Parked<S, B, T> {
    config: Arc<Config<T>>,
    service: S,
    request: Request<B>,
    answer: AnswerFuture<T>,
}

impl<S, B, T> ResolveOwnerFuture<S, B, T>
where
    S: Service<Request<B>>,
{
    pub(super) fn admitted(future: S::Future) -> Self {
        Self { state: State::Inner { future } }
    }

    pub(super) fn denied(response: Response<Full<Bytes>>) -> Self {
        Self { state: State::Denied { response: Some(response) } }
    }

    pub(super) fn waiting(
        config: Arc<Config<T>>,
        service: S,
        request: Request<B>,
        answer: AnswerFuture<T>,
    ) -> Self {
        let parked = Parked { config, service, request, answer };
        Self { state: State::Waiting { parked: Some(Box::new(parked)) } }
    }
}

impl<S, B, T, ResBody> Future for ResolveOwnerFuture<S, B, T>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    T: Send + Sync + 'static,
{
    type Output = Result<Response<Either<ResBody, Full<Bytes>>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { future } => {
                    return future.poll(cx).map_ok(|response| response.map(Either::Left));
                }
                StateProjection::Denied { response } => {
                    let response = response.take().expect(POLLED_AFTER_COMPLETION);
                    return Poll::Ready(Ok(response.map(Either::Right)));
                }
                StateProjection::Waiting { parked } => ready!(resume(parked, cx)),
            };
            self.set(next);
        }
    }
}

const POLLED_AFTER_COMPLETION: &str = "`ResolveOwnerFuture` polled after completion";

/// Goes on once the resolver has answered.
fn resume<S, B, T>(
    slot: &mut Option<Box<Parked<S, B, T>>>,
    cx: &mut Context<'_>,
) -> Poll<ResolveOwnerFuture<S, B, T>>
where
    S: Service<Request<B>>,
    T: Send + Sync + 'static,
{
    let mut parked = slot.take().expect(POLLED_AFTER_COMPLETION);
    let Poll::Ready(answer) = parked.answer.as_mut().poll(cx) else {
        *slot = Some(parked);
        return Poll::Pending;
    };
    let Parked { config, mut service, mut request, .. } = *parked;
    Poll::Ready(match config.settle(&mut request, answer) {
        Verdict::Admit => ResolveOwnerFuture::admitted(service.call(request)),
        Verdict::Deny(response) => ResolveOwnerFuture::denied(response),
        Verdict::Wait(answer) => ResolveOwnerFuture::waiting(config, service, request, answer),
    })
}

impl<S, B, T> fmt::Debug for ResolveOwnerFuture<S, B, T>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Waiting { .. } => "ResolveOwnerFuture::Waiting",
            State::Inner { .. } => "ResolveOwnerFuture::Inner",
            State::Denied { .. } => "ResolveOwnerFuture::Denied",
        })
    }
}
