//! 12. [`ResponsePlan`]: what the layer does to the inner service's response.

use std::mem;

use http::{Request, Response};

use super::{
    access_record::AccessRecord, authenticate::Admission, body::ResponseBody,
    cache_policy::CachePolicy, config::Config, deprecation::DeprecationHeaders,
    extract::Subprotocol, shadow::InShadow,
};
use crate::{limit::Consumption, request::RequestHead};

/// What is done to the response of a request that was let in.
// Every request carries this, so it is small.
pub(crate) struct ResponsePlan {
    cache: CachePolicy,
    deprecation: Option<DeprecationHeaders>,
    consumed: Consumption,
    subprotocol: Option<Subprotocol>,
    access: Option<Box<AccessRecord>>,
    /// Whether a denial from inside may be in the form of gRPC: asked before the request goes in.
    may_be_grpc: bool,
}

impl ResponsePlan {
    /// What the response to a request that is let in like this needs.
    #[inline]
    pub(super) fn new<B>(config: &Config, request: &Request<B>, admission: &mut Admission) -> Self {
        let cache = if config.cache_headers {
            CachePolicy::for_admission(admission)
        } else {
            CachePolicy::None
        };
        let access = config.tells_access.then(|| Box::new(AccessRecord::of(admission)));
        let (deprecation, consumed) = match admission {
            Admission::Authenticated { key, consumed, .. } => {
                (DeprecationHeaders::of(key.record()), mem::take(consumed))
            }
            Admission::PassBy | Admission::Preflight | Admission::Anonymous => {
                (None, Consumption::default())
            }
        };
        let subprotocol = match admission {
            // A key that was marked in passing is in a header of its own.
            Admission::Authenticated { source, is_marked: false, .. } => {
                Subprotocol::of(&config.sources, *source, &RequestHead::from(request))
            }
            _ => None,
        };
        let may_be_grpc = config.renderer.grpc.may_answer(&RequestHead::from(request));
        Self { cache, deprecation, consumed, subprotocol, access, may_be_grpc }
    }

    /// The response, with the headers of the layer; or a denial from inside, rendered like the
    /// layer's own.
    #[inline]
    pub(super) fn finish<B>(
        &self,
        config: &Config,
        mut response: Response<B>,
    ) -> Response<ResponseBody<B>> {
        let denied = config.renderer.respond_anew(&response, self.may_be_grpc);
        if let Some((rejection, mut denial)) = denied {
            config.denied(rejection, None);
            if self.access.is_some() {
                AccessRecord::of_denial(rejection).tell(denial.extensions_mut());
            }
            InShadow::keep(response.extensions(), denial.extensions_mut());
            // A uniform denial does not tell that there is a key, which has limits.
            if !config.renderer.folds(rejection.kind()) {
                self.consumed.apply(denial.headers_mut());
            }
            return denial.map(ResponseBody::denial);
        }
        self.cache.apply(config.vary.as_ref(), response.headers_mut());
        if let Some(deprecation) = &self.deprecation {
            deprecation.apply(response.headers_mut());
        }
        self.consumed.apply(response.headers_mut());
        if let Some(subprotocol) = self.subprotocol {
            subprotocol.choose(&config.sources, response.status(), response.headers_mut());
        }
        if let Some(access) = &self.access {
            // A layer inside may have denied it, and answered by itself.
            let denial = response.extensions().get().map(AccessRecord::of_denial);
            let access = denial.unwrap_or_else(|| AccessRecord::clone(access));
            access.tell(response.extensions_mut());
        }
        response.map(ResponseBody::from)
    }
}
