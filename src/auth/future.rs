//! [`ResponseFuture`]: waiting for an answer about the key, then for the inner service, or
//! rejected.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    access_record::AccessRecord,
    authenticate::{self, Outcome, Waiting},
    body::ResponseBody,
    config::Config,
    decision::{self, Waited},
    preflights,
    response_plan::ResponsePlan,
    shared_config::ThreadConfig,
};
use crate::{
    rejection::{Rejection, respond_with_mistake},
    request::RequestHead,
};

pin_project! {
    /// The response of an [`ApiKeyAuth`](crate::auth::ApiKeyAuth).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F> {
        // Boxed: a request and a service are large, and few requests wait.
        Waiting { parked: Option<Box<Parked<S, B>>> },
        Inner { config: ThreadConfig, plan: ResponsePlan, #[pin] future: F },
        Rejected { response: Option<Response<Bytes>> },
    }
}

/// A request that waits, with the service that was polled ready for it.
struct Parked<S, B> {
    config: ThreadConfig,
    service: S,
    request: Request<B>,
    waiting: Waiting,
    waited: Waited,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    #[inline]
    pub(crate) fn admitted(config: ThreadConfig, plan: ResponsePlan, future: S::Future) -> Self {
        Self { state: State::Inner { config, plan, future } }
    }

    pub(crate) fn waiting(
        config: ThreadConfig,
        service: S,
        request: Request<B>,
        waiting: Waiting,
    ) -> Self {
        Self::waiting_on(config, service, request, waiting, Waited::begin())
    }

    fn waiting_on(
        config: ThreadConfig,
        service: S,
        request: Request<B>,
        waiting: Waiting,
        waited: Waited,
    ) -> Self {
        let parked = Parked { config, service, request, waiting, waited };
        Self { state: State::Waiting { parked: Some(Box::new(parked)) } }
    }

    /// Goes on with an outcome, with the service that was polled ready.
    pub(super) fn of_outcome(
        config: ThreadConfig,
        mut service: S,
        mut request: Request<B>,
        outcome: Outcome,
        waited: Option<Waited>,
    ) -> Self {
        match outcome {
            Outcome::Admit(admission) => {
                // The span ends before the inner service begins.
                let plan = match waited {
                    None => authenticate::let_in(&config, &mut request, admission),
                    Some(waited) => {
                        authenticate::let_in_after(&config, &mut request, admission, &waited)
                    }
                };
                Self::admitted(config, plan, service.call(request))
            }
            Outcome::Reject(rejection) => {
                Self::rejected_after(waited, &config, rejection, &mut request)
            }
            Outcome::Mistake(what_to_do) => Self::mistaken(what_to_do, &request),
            Outcome::Wait(waiting) => {
                let waited = waited.unwrap_or_else(Waited::begin);
                Self::waiting_on(config, service, request, waiting, waited)
            }
        }
    }

    pub(crate) fn rejected(
        config: &Config,
        rejection: Rejection,
        request: &mut Request<B>,
    ) -> Self {
        Self::rejected_after(None, config, rejection, request)
    }

    fn rejected_after(
        waited: Option<Waited>,
        config: &Config,
        mut rejection: Rejection,
        request: &mut Request<B>,
    ) -> Self {
        let head = RequestHead::from(&*request);
        if preflights::is_like_preflight(&head) {
            rejection = rejection.of_preflight();
        }
        decision::observe_denial(config, &rejection, request, waited);
        let access = config.tells_access.then(|| AccessRecord::of_denial(&rejection));
        let mut response = config.renderer.respond(rejection, request);
        if let Some(access) = access {
            access.tell(response.extensions_mut());
        }
        Self { state: State::Rejected { response: Some(response) } }
    }

    #[cold]
    pub(crate) fn mistaken(what_to_do: &'static str, request: &Request<B>) -> Self {
        let response = respond_with_mistake(what_to_do, &RequestHead::from(request));
        Self { state: State::Rejected { response: Some(response) } }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { config, plan, future } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(plan.finish(config, response)));
                }
                StateProjection::Rejected { response } => {
                    let response = response.take().expect(POLLED_AFTER_COMPLETION);
                    return Poll::Ready(Ok(response.map(ResponseBody::denial)));
                }
                StateProjection::Waiting { parked } => ready!(resume(parked, cx)),
            };
            self.set(next);
        }
    }
}

const POLLED_AFTER_COMPLETION: &str = "`ResponseFuture` polled after completion";

/// Goes on once the answer is there. Kept out of `poll`, which most requests pass through
/// without ever having waited.
#[cold]
fn resume<S, B>(
    slot: &mut Option<Box<Parked<S, B>>>,
    cx: &mut Context<'_>,
) -> Poll<ResponseFuture<S, B>>
where
    S: Service<Request<B>>,
{
    let mut parked = slot.take().expect(POLLED_AFTER_COMPLETION);
    let Poll::Ready(answer) = parked.waited.poll(&mut parked.waiting, cx) else {
        *slot = Some(parked);
        return Poll::Pending;
    };
    let Parked { config, service, request, waiting: _, waited } = *parked;
    let outcome = authenticate::resume(&config, &RequestHead::from(&request), answer);
    Poll::Ready(ResponseFuture::of_outcome(config, service, request, outcome, Some(waited)))
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Waiting { .. } => "ResponseFuture::Waiting",
            State::Inner { .. } => "ResponseFuture::Inner",
            State::Rejected { .. } => "ResponseFuture::Rejected",
        })
    }
}
