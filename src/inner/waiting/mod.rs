//! [`WaitingService`]: the middleware of layers that stand inside an [`ApiKeyLayer`](crate::ApiKeyLayer),
//! look at the identity that it attached, and may have to wait before they let a request on.

mod denial;
mod future;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, HeaderMap, Request, Response};
use tower_service::Service;

pub(super) use self::{denial::Denial, future::WaitingFuture};
use crate::{
    auth::{ResponseBody, WaitingLimit, attached::LayerId, authenticated, service::take_ready},
    limit::LimitReport,
    observe,
    rejection::Rejection,
    request::RequestHead,
};

/// Decides about requests.
///
/// For this crate's layers alone: it cannot be named outside.
pub trait WaitingLayer: Send + Sync + 'static {
    /// The answer that a request may have to wait for; `Infallible` where a layer never waits.
    type Answer;
    /// The state of limits for the response; `()` where a layer has none.
    type Report: Report;

    /// Decides, or returns the future to wait for. In shadow, nothing is counted in earnest.
    fn judge<B>(&self, request: &mut Request<B>, in_shadow: bool) -> Next<Self>;

    /// Goes on with the answer that was waited for.
    fn settle<B>(&self, request: &mut Request<B>, answer: Self::Answer) -> Next<Self>;

    /// This layer, if a denial of the request is only told of, for now.
    fn in_shadow(&self, _: &Extensions) -> Option<InShadow> {
        None
    }
}

/// A layer that is in shadow.
#[derive(Clone, Copy, Debug)]
pub struct InShadow(pub(super) LayerId);

/// The state of limits that a layer tells in a response.
pub trait Report {
    fn apply(&self, headers: &mut HeaderMap);
}

impl Report for () {
    fn apply(&self, _: &mut HeaderMap) {}
}

impl Report for Option<LimitReport> {
    fn apply(&self, headers: &mut HeaderMap) {
        if let Some(report) = self {
            report.apply(headers);
        }
    }
}

/// The next step of a request.
pub enum Next<L: WaitingLayer + ?Sized> {
    /// On to the inner service, and this report on its response.
    Admit(L::Report),
    /// Back to the caller.
    Deny(Denial),
    /// Something must be waited for; then [`WaitingLayer::settle`].
    Wait(Pin<Box<dyn Future<Output = L::Answer> + Send>>),
}

impl<L: WaitingLayer + ?Sized> fmt::Debug for Next<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admit(_) => "Admit",
            Self::Deny(_) => "Deny",
            Self::Wait(_) => "Wait",
        })
    }
}

/// Waits for the answer, unless as many requests wait as the limit lets wait.
#[cold]
pub(super) fn wait<B, L: WaitingLayer>(
    request: &Request<B>,
    limit: &WaitingLimit,
    answer: impl Future<Output = L::Answer> + Send + 'static,
) -> Next<L> {
    match limit.admit(&RequestHead::from(request)) {
        Ok(permit) => Next::Wait(Box::pin(async move {
            let answer = answer.await;
            drop(permit);
            answer
        })),
        Err(error) => deny(request, Rejection::from_store_error(error)),
    }
}

/// A denial of the key that is attached, if there is one.
#[cold]
pub(crate) fn deny<B, L>(request: &Request<B>, rejection: Rejection) -> Next<L>
where
    L: WaitingLayer,
{
    let rejection = match authenticated::require(request.extensions()) {
        Ok(key) => rejection.with_record(key.record()),
        Err(_) => rejection,
    };
    Next::Deny(Denial::from(rejection))
}

/// The middleware that layers like [`OwnerLayer`](crate::OwnerLayer) and
/// [`ExtraCostLayer`](crate::extra_cost::ExtraCostLayer) put around a service.
///
/// A [response's body](ResponseBody) is the inner service's or a denial's, and `Error` is the inner
/// service's.
#[must_use]
pub struct WaitingService<S, L> {
    inner: S,
    layer: Arc<L>,
}

impl<S, L> WaitingService<S, L> {
    pub(crate) fn new(inner: S, layer: Arc<L>) -> Self {
        Self { inner, layer }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L, ReqBody, ResBody> Service<Request<ReqBody>> for WaitingService<S, L>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    L: WaitingLayer,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = WaitingFuture<S, ReqBody, L>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if let Some(InShadow(layer)) = self.layer.in_shadow(request.extensions()) {
            return self.call_in_shadow(layer, request);
        }
        match self.layer.judge(&mut request, false) {
            Next::Admit(report) => WaitingFuture::admitted(self.inner.call(request), report),
            Next::Deny(denial) => {
                drop(take_ready(&mut self.inner));
                WaitingFuture::denied(denial.response(&RequestHead::from(&request)))
            }
            Next::Wait(answer) => {
                let ready = take_ready(&mut self.inner);
                WaitingFuture::waiting(self.layer.clone(), ready, request, answer)
            }
        }
    }
}

impl<S, L: WaitingLayer> WaitingService<S, L> {
    /// Judges the request, tells of a denial, and lets it on.
    #[cold]
    fn call_in_shadow<B>(
        &mut self,
        layer: LayerId,
        mut request: Request<B>,
    ) -> WaitingFuture<S, B, L>
    where
        S: Service<Request<B>>,
    {
        let would_deny = match self.layer.judge(&mut request, true) {
            Next::Admit(_) => None,
            Next::Deny(denial) => denial.in_shadow(layer, request.extensions_mut()),
            // Limits that are counted apart answer at once.
            Next::Wait(_) => {
                observe::undecided();
                None
            }
        };
        WaitingFuture::in_shadow(self.inner.call(request), would_deny)
    }
}

impl<S: Clone, L> Clone for WaitingService<S, L> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, L> fmt::Debug for WaitingService<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
