//! [`ResponseFuture`]: waiting for the store, then for the inner service, or rejected.

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

use crate::{
    Rejection, RequestHead,
    authenticate::{self, Outcome, Waiting},
    cache_headers::CacheCare,
    layer::Config,
    observe,
};

pin_project! {
    /// The response of an [`ApiKeyAuth`](crate::ApiKeyAuth).
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
        Waiting { waiting: Option<Box<Parked<S, B>>> },
        Inner { config: Arc<Config>, care: CacheCare, #[pin] future: F },
        Rejected { response: Option<Response<Full<Bytes>>> },
    }
}

/// A request that waits for the store, with the service that was polled ready for it.
struct Parked<S, B> {
    config: Arc<Config>,
    service: S,
    request: Request<B>,
    waiting: Waiting,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    #[inline]
    pub(crate) fn admitted(config: Arc<Config>, care: CacheCare, future: S::Future) -> Self {
        Self { state: State::Inner { config, care, future } }
    }

    pub(crate) fn waiting(
        config: Arc<Config>,
        service: S,
        request: Request<B>,
        waiting: Waiting,
    ) -> Self {
        let parked = Parked { config, service, request, waiting };
        Self { state: State::Waiting { waiting: Some(Box::new(parked)) } }
    }

    pub(crate) fn rejected(config: &Config, rejection: Rejection, request: &Request<B>) -> Self {
        observe::denied(&rejection);
        let response = config.renderer.respond(rejection, request.headers());
        Self { state: State::Rejected { response: Some(response) } }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<Either<ResBody, Full<Bytes>>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { config, care, future } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(finish(config, *care, response)));
                }
                StateProjection::Rejected { response } => {
                    let response =
                        response.take().expect("`ResponseFuture` polled after completion");
                    return Poll::Ready(Ok(response.map(Either::Right)));
                }
                StateProjection::Waiting { waiting } => {
                    let parked =
                        waiting.as_mut().expect("`ResponseFuture` polled after completion");
                    let answer = ready!(parked.waiting.answer.as_mut().poll(cx));
                    let parked = waiting.take().expect("it was there a line ago");
                    parked.resume(answer)
                }
            };
            self.set(next);
        }
    }
}

impl<S, B> Parked<S, B>
where
    S: Service<Request<B>>,
{
    /// Goes on with the store's answer.
    fn resume(mut self, answer: authenticate::LookupResult) -> ResponseFuture<S, B> {
        let head = RequestHead::from(&self.request);
        match authenticate::resume(&self.config, &head, self.waiting, answer) {
            Outcome::Admit(admission) => {
                let care = self.config.cache_care(&admission);
                authenticate::attach(&self.config, &mut self.request, admission);
                ResponseFuture::admitted(self.config, care, self.service.call(self.request))
            }
            Outcome::Reject(rejection) => {
                ResponseFuture::rejected(&self.config, rejection, &self.request)
            }
            Outcome::Wait(waiting) => {
                ResponseFuture::waiting(self.config, self.service, self.request, waiting)
            }
        }
    }
}

/// 12. What the layer does to the inner service's response.
#[inline]
fn finish<ResBody>(
    config: &Config,
    care: CacheCare,
    mut response: Response<ResBody>,
) -> Response<Either<ResBody, Full<Bytes>>> {
    if let Some(denial) = config.renderer.respond_anew(&response) {
        return denial.map(Either::Right);
    }
    care.apply(config.vary.as_ref(), response.headers_mut());
    response.map(Either::Left)
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
