//! [`ForwardAuthFuture`]: the answer to the proxy.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    granting::{Granted, Granting},
    service::Settings,
};
use crate::{
    auth::{ResponseBody, ResponseFuture},
    key::RejectionKind,
};

pin_project! {
    /// The response of a [`ForwardAuth`](super::ForwardAuth).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ForwardAuthFuture {
        #[pin]
        decision: ResponseFuture<Granting, ()>,
        settings: Arc<Settings>,
    }
}

/// The status of a denial that the proxy takes for another one.
const STATUS: HeaderName = HeaderName::from_static("x-api-key-status");

/// Its body.
const PROBLEM: HeaderName = HeaderName::from_static("x-api-key-problem");

/// Proxies have room for few kilobytes of headers.
const MAX_PROBLEM: u64 = 2 * 1024;

type Answer = Response<ResponseBody<String>>;

impl ForwardAuthFuture {
    pub(super) fn new(decision: ResponseFuture<Granting, ()>, settings: Arc<Settings>) -> Self {
        Self { decision, settings }
    }
}

impl Future for ForwardAuthFuture {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.decision.poll(cx))?;
        this.settings.finish(&mut response);
        Poll::Ready(Ok(response))
    }
}

impl Settings {
    /// Adds what every answer has, and makes sure that a proxy reads it as it is meant.
    fn finish(&self, response: &mut Answer) {
        let is_granted = response.extensions().get::<Granted>().is_some();
        if !is_granted {
            self.identity.set(None, response.headers_mut());
            let is_denial =
                response.status().is_client_error() || response.status().is_server_error();
            if !is_denial {
                *response.status_mut() = RejectionKind::ForwardAuthRefused.status();
            }
        }
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        if self.flavour.knows_two_denials() {
            let problem = if is_granted { None } else { problem(response) };
            let empty = || HeaderValue::from_static("");
            tell(response.status(), problem.unwrap_or_else(empty), response.headers_mut());
            *response.status_mut() = self.flavour.status(response.status());
        }
    }
}

fn tell(status: StatusCode, problem: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(STATUS, HeaderValue::from(status.as_u16()));
    headers.insert(PROBLEM, problem);
}

/// The body of the denial, where it is short and of one line, as problems are.
fn problem(response: &Answer) -> Option<HeaderValue> {
    let body = response.body();
    let is_problem = response.headers().get(header::CONTENT_TYPE)? == "application/problem+json";
    let is_short = body.size_hint().exact().is_some_and(|length| length <= MAX_PROBLEM);
    let text = body.denial_text().filter(|_| is_problem && is_short)?;
    let is_visible = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    HeaderValue::from_bytes(text).ok().filter(|_| is_visible)
}

impl fmt::Debug for ForwardAuthFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardAuthFuture")
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}
