//! [`Shadow`]: the middleware.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{decide::Plan, future::ShadowFuture, period::Period};
use crate::auth::{
    body::ResponseBody,
    service::{ApiKeyAuth, take_ready},
};

/// The middleware that a [`ShadowLayer`](super::ShadowLayer) puts around a service.
#[derive(Clone)]
#[must_use]
pub struct Shadow<S> {
    enforcing: ApiKeyAuth<S>,
    plan: Arc<Plan>,
    period: Arc<Period>,
}

impl<S> Shadow<S> {
    pub(super) const fn new(
        enforcing: ApiKeyAuth<S>,
        plan: Arc<Plan>,
        period: Arc<Period>,
    ) -> Self {
        Self { enforcing, plan, period }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.enforcing.get_ref()
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        self.enforcing.get_mut()
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.enforcing.into_inner()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Shadow<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ShadowFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.enforcing.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if self.period.is_running(&*self.plan.apart.clock) {
            ShadowFuture::begin(self.plan.clone(), take_ready(&mut self.enforcing), request)
        } else {
            ShadowFuture::enforced(self.enforcing.call(request))
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Shadow<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("enforcing", &self.enforcing).finish_non_exhaustive()
    }
}
