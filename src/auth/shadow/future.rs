//! [`ShadowFuture`] and [`ShadowingFuture`]: the decision, then the service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    decide::{Deciding, Decision, Plan, Step},
    noted::{Note, Opinion},
    would_deny::{InShadow, WouldDeny},
};
use crate::{
    auth::{
        attached::{ShadowDecision, attach_in_shadow},
        body::ResponseBody,
        future::ResponseFuture,
        service::ApiKeyAuth,
    },
    observe,
    request::RequestHead,
};

pin_project! {
    /// The response of a [`Shadow`](super::Shadow).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ShadowFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F>
    where
        S: Service<Request<B>>,
    {
        // Boxed: a request and a service are large, and few requests wait.
        Deciding { parked: Option<Box<Parked<ApiKeyAuth<S>, B>>> },
        Inner { would_deny: Option<WouldDeny>, #[pin] future: F },
        Enforced { in_shadow: bool, #[pin] future: ResponseFuture<S, B> },
    }
}

/// A request that waits for its decision, with the service that was polled ready for it.
struct Parked<S, B> {
    plan: Arc<Plan>,
    service: S,
    request: Request<B>,
    deciding: Deciding,
}

impl<S, B> Parked<S, B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Decision> {
        self.deciding.poll(&self.plan, &RequestHead::from(&self.request), cx)
    }
}

/// Waits for the decision of a parked request.
fn poll_parked<S, B>(
    slot: &mut Option<Box<Parked<S, B>>>,
    cx: &mut Context<'_>,
) -> Poll<(Decision, Parked<S, B>)> {
    let mut parked = slot.take().expect(POLLED_AFTER_COMPLETION);
    match parked.poll(cx) {
        Poll::Ready(decision) => Poll::Ready((decision, *parked)),
        Poll::Pending => {
            *slot = Some(parked);
            Poll::Pending
        }
    }
}

const POLLED_AFTER_COMPLETION: &str = "the future of a layer in shadow polled after completion";

impl<S, B> ShadowFuture<S, B>
where
    S: Service<Request<B>>,
{
    /// After the end of the shadow.
    pub(super) fn enforced(future: ResponseFuture<S, B>) -> Self {
        Self { state: State::Enforced { in_shadow: false, future } }
    }

    pub(super) fn begin(plan: Arc<Plan>, service: ApiKeyAuth<S>, request: Request<B>) -> Self {
        let state = match plan.begin(&RequestHead::from(&request)) {
            None => State::ended(service, request),
            Some(Step::Decided(decision)) => State::decided(&plan, service, request, decision),
            Some(Step::Wait(deciding)) => {
                let parked = Parked { plan, service, request, deciding };
                State::Deciding { parked: Some(Box::new(parked)) }
            }
        };
        Self { state }
    }
}

impl<S, B> State<S, B, S::Future>
where
    S: Service<Request<B>>,
{
    /// A request that would not have come here.
    fn ended(mut service: ApiKeyAuth<S>, request: Request<B>) -> Self {
        Self::Inner { would_deny: None, future: service.get_mut().call(request) }
    }

    fn decided(
        plan: &Plan,
        mut service: ApiKeyAuth<S>,
        mut request: Request<B>,
        decision: Decision,
    ) -> Self {
        decision.count();
        let (decision, would_deny) = match decision {
            Decision::Enforce(outcome) => {
                let future = service.go_on(request, outcome);
                return Self::Enforced { in_shadow: true, future };
            }
            Decision::Admit(_, key) => (ShadowDecision::Admit(key), None),
            Decision::Undecided => {
                observe::undecided();
                (ShadowDecision::Undecided, None)
            }
            Decision::Deny(rejection) => {
                rejection.observe_in_shadow();
                let would_deny = WouldDeny::new(rejection);
                (ShadowDecision::Deny(would_deny.clone()), Some(would_deny))
            }
        };
        attach_in_shadow(request.extensions_mut(), plan.apart.id, decision);
        Self::Inner { would_deny, future: service.get_mut().call(request) }
    }
}

impl<S, B, ResBody> Future for ShadowFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Deciding { parked } => {
                    let (decision, parked) = ready!(poll_parked(parked, cx));
                    State::decided(&parked.plan, parked.service, parked.request, decision)
                }
                StateProjection::Inner { would_deny, future } => {
                    let mut response = ready!(future.poll(cx))?;
                    InShadow::tell(would_deny.take(), response.extensions_mut());
                    return Poll::Ready(Ok(response.map(ResponseBody::from)));
                }
                StateProjection::Enforced { in_shadow, future } => {
                    let mut response = ready!(future.poll(cx))?;
                    if *in_shadow {
                        InShadow::tell(None, response.extensions_mut());
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

pin_project! {
    /// The response of a [`Shadowing`](super::Shadowing).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ShadowingFuture<O, B>
    where
        O: Service<Request<B>>,
    {
        #[pin]
        state: Beside<O, B, O::Future>,
    }
}

pin_project! {
    #[project = BesideProjection]
    enum Beside<O, B, F> {
        Deciding { parked: Option<Box<Parked<O, B>>> },
        Other { note: Arc<Note>, #[pin] future: F },
    }
}

impl<O, B> ShadowingFuture<O, B>
where
    O: Service<Request<B>>,
{
    pub(super) fn begin(plan: Arc<Plan>, other: O, request: Request<B>) -> Self {
        let state = match plan.begin(&RequestHead::from(&request)) {
            None => Beside::decided(&plan, other, request, Decision::Undecided),
            Some(Step::Decided(decision)) => Beside::decided(&plan, other, request, decision),
            Some(Step::Wait(deciding)) => {
                let parked = Parked { plan, service: other, request, deciding };
                Beside::Deciding { parked: Some(Box::new(parked)) }
            }
        };
        Self { state }
    }
}

impl<O, B> Beside<O, B, O::Future>
where
    O: Service<Request<B>>,
{
    fn decided(plan: &Plan, mut other: O, mut request: Request<B>, decision: Decision) -> Self {
        decision.count();
        let opinion = match decision {
            Decision::Admit(_, key) => Opinion::Admits(key),
            Decision::Deny(rejection) => {
                let head = RequestHead::from(&request);
                let status = plan.apart.renderer.status_of(rejection.kind(), &head);
                Opinion::Denies(WouldDeny::new(rejection), status)
            }
            // Without an `Enforcement`, no request is enforced.
            Decision::Undecided | Decision::Enforce(_) => {
                observe::undecided();
                Opinion::None
            }
        };
        let note = Arc::new(Note::new(opinion));
        request.extensions_mut().insert(note.clone());
        Self::Other { note, future: other.call(request) }
    }
}

impl<O, B, ResBody> Future for ShadowingFuture<O, B>
where
    O: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResBody>, O::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                BesideProjection::Deciding { parked } => {
                    let (decision, parked) = ready!(poll_parked(parked, cx));
                    Beside::decided(&parked.plan, parked.service, parked.request, decision)
                }
                BesideProjection::Other { note, future } => {
                    let mut response = ready!(future.poll(cx));
                    match &mut response {
                        Ok(response) => note.tell(response),
                        Err(_) => note.tell_error(),
                    }
                    return Poll::Ready(response);
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ShadowFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Deciding { .. } => "ShadowFuture::Deciding",
            State::Inner { .. } => "ShadowFuture::Inner",
            State::Enforced { .. } => "ShadowFuture::Enforced",
        })
    }
}

impl<O, B> fmt::Debug for ShadowingFuture<O, B>
where
    O: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            Beside::Deciding { .. } => "ShadowingFuture::Deciding",
            Beside::Other { .. } => "ShadowingFuture::Other",
        })
    }
}
