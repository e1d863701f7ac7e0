//! [`OrElseFuture`]: the half that a request needs, once it is ready.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::OrElseBody;
use crate::auth::{
    config::Config, future::ResponseFuture, response_plan::ResponsePlan, service::ApiKeyAuth,
    shared_config::ThreadConfig,
};

pin_project! {
    /// The response of an [`OrElse`](super::OrElse).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct OrElseFuture<S, O, B>
    where
        S: Service<Request<B>>,
        O: Service<Request<B>>,
    {
        #[pin]
        state: State<S, O, B, O::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, O, B, F>
    where
        S: Service<Request<B>>,
    {
        KeysWait { service: ApiKeyAuth<S>, request: Option<Request<B>> },
        Keys { #[pin] future: ResponseFuture<S, B> },
        OtherWaits { service: O, request: Option<Request<B>>, then: Option<Then> },
        Other { #[pin] future: F, then: Then },
    }
}

/// What is done to the response of the other half.
pub(super) struct Then {
    pub(super) config: ThreadConfig,
    pub(super) plan: ResponsePlan,
}

impl<S, O, B> OrElseFuture<S, O, B>
where
    S: Service<Request<B>>,
    O: Service<Request<B>>,
{
    pub(super) fn of_keys(service: ApiKeyAuth<S>, request: Request<B>) -> Self {
        Self { state: State::KeysWait { service, request: Some(request) } }
    }

    pub(super) fn of_other(service: O, request: Request<B>, then: Then) -> Self {
        Self { state: State::OtherWaits { service, request: Some(request), then: Some(then) } }
    }
}

impl<S, O, B, KeysBody, OtherBody> Future for OrElseFuture<S, O, B>
where
    S: Service<Request<B>, Response = Response<KeysBody>> + Clone,
    O: Service<Request<B>, Response = Response<OtherBody>, Error = S::Error>,
{
    type Output = Result<Response<OrElseBody<KeysBody, OtherBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::KeysWait { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect(POLLED_AFTER_COMPLETION);
                    State::Keys { future: service.call(request) }
                }
                StateProjection::Keys { future } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(response.map(OrElseBody::of_keys)));
                }
                StateProjection::OtherWaits { service, request, then } => {
                    ready!(service.poll_ready(cx))?;
                    let both = request.take().zip(then.take());
                    let (request, then) = both.expect(POLLED_AFTER_COMPLETION);
                    State::Other { future: service.call(request), then }
                }
                StateProjection::Other { future, then } => {
                    let Then { config, plan } = then;
                    let mut response = plan.finish(config, ready!(future.poll(cx))?);
                    ask_for_keys(config, &mut response);
                    return Poll::Ready(Ok(response.map(OrElseBody::of_other)));
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

const POLLED_AFTER_COMPLETION: &str = "`OrElseFuture` polled after completion";

/// Adds the challenges of the layer for keys to a 401 of the other half.
fn ask_for_keys<B>(config: &Config, response: &mut Response<B>) {
    if response.status() != StatusCode::UNAUTHORIZED {
        return;
    }
    let headers = response.headers_mut();
    for challenge in config.renderer.own_challenges() {
        // Also with an error.
        let mut there = headers.get_all(header::WWW_AUTHENTICATE).iter();
        if !there.any(|there| there.as_bytes().starts_with(challenge.as_bytes())) {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
    }
}

impl<S, O, B> fmt::Debug for OrElseFuture<S, O, B>
where
    S: Service<Request<B>>,
    O: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::KeysWait { .. } | State::Keys { .. } => "OrElseFuture::Keys",
            State::OtherWaits { .. } | State::Other { .. } => "OrElseFuture::Other",
        })
    }
}
