//! [`ForwardAuthFuture`]: the answer to a proxy that asks over HTTP.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    decision::{Answer, Decision, is_granted},
    flavour::Flavour,
};

pin_project! {
    /// The response of a [`ForwardAuth`](super::ForwardAuth).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ForwardAuthFuture {
        #[pin]
        decision: Decision,
        flavour: Flavour,
    }
}

/// The status of a denial that the proxy takes for another one.
const STATUS: HeaderName = HeaderName::from_static("x-api-key-status");

/// Its body.
const PROBLEM: HeaderName = HeaderName::from_static("x-api-key-problem");

/// Proxies have room for few kilobytes of headers.
const MAX_PROBLEM: u64 = 2 * 1024;

impl ForwardAuthFuture {
    pub(super) fn new(decision: Decision, flavour: Flavour) -> Self {
        Self { decision, flavour }
    }
}

impl Future for ForwardAuthFuture {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.decision.poll(cx))?;
        if this.flavour.knows_two_denials() {
            let problem = if is_granted(&response) { None } else { problem(&response) };
            let empty = || HeaderValue::from_static("");
            tell(response.status(), problem.unwrap_or_else(empty), response.headers_mut());
            *response.status_mut() = this.flavour.status(response.status());
        }
        Poll::Ready(Ok(response))
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
