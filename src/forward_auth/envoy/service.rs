//! [`ExtAuthz`]: the service.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, Version, request::Parts};
use http_body::Body;
use tonic::{
    Status,
    server::{Grpc, NamedService, UnaryService},
};
use tower_service::Service;

use super::{answer::answer, codec::CheckCodec, question::Question};
use crate::{
    auth::ApiKeyLayer,
    forward_auth::{
        ForwardAuthBuilder,
        decision::{Decider, Settings},
        original::{Asked, Told},
    },
    request::RequestHead,
};

/// Decides for Envoy's filter `ext_authz`, over gRPC: the service `envoy.service.auth.v3.Authorization`.
///
/// The decision is that of a [`ForwardAuth`](crate::forward_auth::ForwardAuth), with the same rules. A request
/// that is let in goes on with [identity headers](crate::identity::IdentityHeaders) in place of those that the
/// client sent. A denial is an answer as well: it has the response to the client, with its status, headers and
/// problem details, and a code that is not 0. A call fails only where its message is none of Envoy's, or larger
/// than 128 KiB, and the filter then denies the request by itself.
/// [The guide](crate::guide::forward_auth) configures it.
///
/// Beside the [rules of forward-auth](crate::forward_auth::ForwardAuth), but for the sixth, a request is refused
///
/// 1. if its headers are told in both of Envoy's forms, in none of them, or are more than 256;
/// 2. if a pseudo-header or `Host` says something else than Envoy does;
/// 3. if its method is `CONNECT`, or its `Connection` names an identity header;
/// 4. if the address that it comes from is none.
///
/// With [`hide_credentials`](ApiKeyLayer::hide_credentials), Envoy takes the key out of the request. That
/// takes a layer whose sources are all headers.
///
/// ```
/// use std::net::SocketAddr;
///
/// use tonic::{service::Routes, transport::server::TcpConnectInfo};
/// use tower_api_key::{
///     ApiKeyLayer,
///     ext_authz::{DownstreamAddress, ExtAuthz},
///     scope::ScopeRule,
///     store::MemoryStore,
/// };
///
/// let layer = ApiKeyLayer::new(MemoryStore::new())
///     .with_client_address(|request| request.extensions.get().map(DownstreamAddress::ip));
/// let ext_authz = ExtAuthz::builder(layer)
///     .trusting_peers(["127.0.0.1/32".parse()?], |request| {
///         Some(request.extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip())
///     })
///     .rule_for_all_methods("/orders/{id}", ScopeRule::scope("orders:read")?)?
///     .build()?;
/// let routes = Routes::new(ext_authz);
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ExtAuthz {
    decider: Decider,
}

/// Headers of 60 KiB, which are Envoy's most unless it is told otherwise, with the target twice.
const MAX_MESSAGE: usize = 128 * 1024;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

impl ExtAuthz {
    /// For Envoy, and proxies that ask as it does.
    pub fn builder(layer: ApiKeyLayer) -> ForwardAuthBuilder<Self> {
        ForwardAuthBuilder::new(layer, |decider| Self { decider }).hiding()
    }
}

impl NamedService for ExtAuthz {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<B> Service<Request<B>> for ExtAuthz
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = ExtAuthzFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let decider = self.decider.clone();
        ExtAuthzFuture(Box::pin(async move {
            if request.uri().path() != CHECK {
                return Status::unimplemented("").into_http();
            }
            // Hooks run here and not in `call`: a panic ends one call, and not the connection of all.
            let is_trusted = decider.trusts(&RequestHead::from(&request));
            let check = Check { decider, is_trusted };
            Grpc::new(CheckCodec).max_decoding_message_size(MAX_MESSAGE).unary(check, request).await
        }))
    }
}

/// One call.
struct Check {
    decider: Decider,
    is_trusted: bool,
}

impl UnaryService<Bytes> for Check {
    type Response = Vec<u8>;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Vec<u8>>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (is_trusted, mut decider) = (self.is_trusted, self.decider.clone());
        Box::pin(async move {
            let (_, extensions, message) = request.into_parts();
            let (mut parts, ()) = Request::new(()).into_parts();
            parts.extensions = extensions;
            let asked = if is_trusted {
                let question = Question::read(message);
                let question = question.map_err(|_| Status::invalid_argument("no CheckRequest"))?;
                question.original(parts, decider.settings())
            } else {
                Asked::OfNone(parts)
            };
            let Ok(response) = decider.decide(asked).await;
            let answer = answer(&response, &decider.settings().identity);
            Ok(tonic::Response::new(answer))
        })
    }
}

impl Question {
    /// The original request, with the rest of these parts.
    fn original(&self, mut parts: Parts, settings: &Settings) -> Asked {
        let Some(rest) = self.rest(&settings.identity) else { return Asked::OfNone(parts) };
        if let Some(downstream) = rest.downstream {
            parts.extensions.insert(downstream);
        }
        parts.headers = rest.headers;
        // Envoy tells of every request in the form of HTTP/1.1, with `Upgrade` for an extended `CONNECT`.
        parts.version = Version::HTTP_11;
        let line = str::from_utf8(&self.path).ok().and_then(|target| {
            let (method, scheme) = (&*self.method, &*self.scheme);
            let told = Told { method, scheme, host: &rest.host, target };
            told.line(&parts.headers, settings)
        });
        match line {
            Some(line) if self.method != Method::CONNECT.as_str() => Asked::Of(line.with(parts)),
            _ => Asked::OfNone(parts),
        }
    }
}

/// The response of an [`ExtAuthz`].
#[must_use = "a future does nothing unless it is polled"]
pub struct ExtAuthzFuture(Pin<Box<dyn Future<Output = Response<tonic::body::Body>> + Send>>);

impl Future for ExtAuthzFuture {
    type Output = Result<Response<tonic::body::Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for ExtAuthz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtAuthz").field("decider", &self.decider).finish()
    }
}

impl fmt::Debug for ExtAuthzFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtAuthzFuture").finish_non_exhaustive()
    }
}
