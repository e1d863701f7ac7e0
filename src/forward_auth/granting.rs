//! [`Granting`]: the service inside the layer, which answers for requests that it lets in.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::routes::Required;
use crate::{
    auth::authenticated,
    inner::IdentityHeaders,
    key::RejectionKind,
    rejection::{Rejection, respond_plainly},
    request::RequestHead,
};

/// Marks the response to a request that is let in. No status does that: a hook that renders denials may
/// choose any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted;

/// Asks for the scopes that the rule names, and answers with the identity.
#[derive(Clone, Debug)]
pub(super) struct Granting {
    pub(super) identity: Arc<IdentityHeaders>,
}

impl Service<Request<()>> for Granting {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let response = self.grant(&request).unwrap_or_else(|rejection| {
            rejection.observe();
            // The layer outside answers anew, with a body of its own.
            let head = RequestHead::from(&request);
            respond_plainly(rejection, Some(&head)).map(|_| String::new())
        });
        ready(Ok(response))
    }
}

impl Granting {
    fn grant(&self, request: &Request<()>) -> Result<Response<String>, Rejection> {
        let absent = |absence: authenticated::Absence| absence.denial().unwrap_or_else(refused);
        let key = authenticated::require(request.extensions()).map_err(absent)?;
        let Some(Required(rule)) = request.extensions().get() else { return Err(refused("")) };
        if !rule.is_met_by(key.scopes()) {
            let missing = rule.missing(key.scopes());
            return Err(Rejection::insufficient_scope(missing).with_record(key.record()));
        }
        let mut response = Response::new(String::new());
        self.identity.set(Some(key), response.headers_mut());
        response.extensions_mut().insert(Granted);
        Ok(response)
    }
}

/// Fails closed where the way here was another than the only one.
fn refused(_: &str) -> Rejection {
    Rejection::new(RejectionKind::ForwardAuthRefused)
}
