//! [`Granting`]: the service inside the layer, which answers for requests that it lets in.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
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

/// In the extensions of such a response, the headers in which keys are looked for, where the layer hides keys:
/// with the value that is left, or none.
#[derive(Clone)]
#[cfg_attr(not(feature = "ext-authz"), expect(dead_code, reason = "no other answer can say so"))]
pub(super) struct LeftOver(pub(super) Vec<(HeaderName, Option<HeaderValue>)>);

/// Asks for the scopes that the rule names, and answers with the identity.
#[derive(Clone, Debug)]
pub(super) struct Granting {
    pub(super) identity: Arc<IdentityHeaders>,
    /// Headers of which the answer says what is left of them.
    pub(super) hidden: Arc<[HeaderName]>,
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
        key.check(rule)?;
        let mut response = Response::new(String::new());
        self.identity.set(Some(key), response.headers_mut());
        response.extensions_mut().insert(Granted);
        if !self.hidden.is_empty() {
            let left = self.left_over(request.headers()).ok_or_else(|| refused(""))?;
            response.extensions_mut().insert(left);
        }
        Ok(response)
    }

    /// `None` where several values of a header are left, or one that is no text: an answer tells one text.
    fn left_over(&self, headers: &HeaderMap) -> Option<LeftOver> {
        let left = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().cloned();
            let is_text =
                value.as_ref().is_none_or(|value| str::from_utf8(value.as_bytes()).is_ok());
            (is_text && values.next().is_none()).then(|| (name.clone(), value))
        };
        self.hidden.iter().map(left).collect::<Option<_>>().map(LeftOver)
    }
}

/// Fails closed where the way here was another than the only one.
fn refused(_: &str) -> Rejection {
    Rejection::new(RejectionKind::ForwardAuthRefused)
}
