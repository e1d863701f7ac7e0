//! [`Decider`]: decides on an original request, for every proxy alike.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, header};
use ipnet::IpNet;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    granting::{Granted, Granting},
    original::Asked,
    routes::Routes,
};
use crate::{
    auth::{ApiKeyAuth, ResponseBody, ResponseFuture},
    inner::IdentityHeaders,
    key::RejectionKind,
    rejection::Rejection,
    request::{Hook, RequestHead},
};

/// The layer with its rules.
#[derive(Clone)]
pub(super) struct Decider {
    service: ApiKeyAuth<Granting>,
    settings: Arc<Settings>,
}

/// Everything that is set, whichever proxy asks.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) identity: Arc<IdentityHeaders>,
    pub(super) routes: Routes,
    pub(super) trusted: Vec<IpNet>,
    pub(super) peer: Hook<Option<IpAddr>>,
}

pub(super) type Answer = Response<ResponseBody<String>>;

impl Decider {
    pub(super) fn new(service: ApiKeyAuth<Granting>, settings: Settings) -> Self {
        Self { service, settings: Arc::new(settings) }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the question comes from a proxy.
    pub(super) fn trusts(&self, asked: &RequestHead<'_>) -> bool {
        let peer = (self.settings.peer)(asked).map(|peer| peer.to_canonical());
        let trusted = &self.settings.trusted;
        peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(&peer)))
    }

    /// Decides on the original request, or refuses a question about none.
    pub(super) fn decide(&mut self, asked: Asked) -> Decision {
        let decided = match asked {
            Asked::Of(original) => self.service.call(original),
            Asked::OfNone(asked) => {
                let rejection = Rejection::new(RejectionKind::ForwardAuthRefused);
                let mut asked = Request::from_parts(asked, ());
                ResponseFuture::rejected(self.service.config(), rejection, &mut asked)
            }
        };
        Decision { decided, settings: self.settings.clone() }
    }
}

pin_project! {
    /// The decision: a response with the identity and the mark [`Granted`], or a denial.
    pub(super) struct Decision {
        #[pin]
        decided: ResponseFuture<Granting, ()>,
        settings: Arc<Settings>,
    }
}

impl Future for Decision {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.decided.poll(cx))?;
        this.settings.finish(&mut response);
        Poll::Ready(Ok(response))
    }
}

impl Settings {
    /// Adds all that every answer has, and makes sure that no denial has a status of success.
    fn finish(&self, response: &mut Answer) {
        if !is_granted(response) {
            self.identity.set(None, response.headers_mut());
            let is_denial =
                response.status().is_client_error() || response.status().is_server_error();
            if !is_denial {
                *response.status_mut() = RejectionKind::ForwardAuthRefused.status();
            }
        }
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    }
}

/// Whether the request is let in.
pub(super) fn is_granted(response: &Answer) -> bool {
    response.extensions().get::<Granted>().is_some()
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider")
            .field("identity", &self.settings.identity)
            .field("trusted", &self.settings.trusted)
            .field("routes", &self.settings.routes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision").field("decided", &self.decided).finish_non_exhaustive()
    }
}
