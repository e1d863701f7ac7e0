//! [`Noted`]: the service inside the other check, which notes that it was reached.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::{Extensions, Request, Response, StatusCode};
use tower_service::Service;

use super::would_deny::{Difference, WouldDeny};
use crate::{auth::authenticated::AuthenticatedKey, observe};

/// Whether both checks mean the same caller.
pub(super) type Comparison = dyn Fn(&AuthenticatedKey, &Extensions) -> bool + Send + Sync;

/// The decision of the layer beside the other check.
pub(super) enum Opinion {
    Admits(Option<AuthenticatedKey>),
    /// With the status of its answer, if that is certain.
    Denies(WouldDeny, Option<StatusCode>),
    None,
}

/// The decisions on a request.
pub(super) struct Note {
    opinion: Opinion,
    /// Set once the other check has let the request in: whether both mean the same caller.
    is_same: OnceLock<bool>,
}

impl Note {
    pub(super) const fn new(opinion: Opinion) -> Self {
        Self { opinion, is_same: OnceLock::new() }
    }

    /// Tells of a difference, now that the other check has answered.
    pub(super) fn tell<B>(&self, response: &mut Response<B>) {
        let status = response.status();
        if let Some(difference) = self.difference(status) {
            self.observe(difference.code(), Some(status));
            response.extensions_mut().insert(difference);
        }
        if let Opinion::Denies(would_deny, _) = &self.opinion {
            response.extensions_mut().insert(would_deny.clone());
        }
    }

    /// Tells of a difference, now that the other check has failed with an error.
    pub(super) fn tell_error(&self) {
        if matches!(self.opinion, Opinion::Admits(_)) && self.is_same.get().is_none() {
            self.observe("other_failed", None);
        }
    }

    fn observe(&self, difference: &'static str, status: Option<StatusCode>) {
        let (ours, key) = match &self.opinion {
            Opinion::Denies(would_deny, _) => {
                let rejection = would_deny.rejection();
                (Some(rejection.kind()), rejection.key())
            }
            Opinion::Admits(key) => (None, key.as_ref().map(AuthenticatedKey::id)),
            Opinion::None => (None, None),
        };
        observe::verifiers_differ(difference, ours, status, key);
    }

    fn difference(&self, status: StatusCode) -> Option<Difference> {
        let is_denial = status.is_client_error() || status.is_server_error();
        match (&self.opinion, self.is_same.get()) {
            (Opinion::Admits(_), None) if is_denial => Some(Difference::OnlyOtherDenies(status)),
            (Opinion::Admits(_), Some(false)) => Some(Difference::OtherIdentity),
            (Opinion::Denies(..), Some(_)) => Some(Difference::OnlyKeysDeny),
            (Opinion::Denies(_, Some(ours)), None) if is_denial && *ours != status => {
                Some(Difference::OtherStatus(status))
            }
            _ => None,
        }
    }
}

/// The service that a [`ShadowingLayer`](super::ShadowingLayer) has the other layer put around: the inner
/// service, and a note that it was reached.
#[derive(Clone)]
#[must_use]
pub struct Noted<S> {
    inner: S,
    comparison: Option<Arc<Comparison>>,
}

impl<S> Noted<S> {
    pub(super) const fn new(inner: S, comparison: Option<Arc<Comparison>>) -> Self {
        Self { inner, comparison }
    }
}

impl<S, B> Service<Request<B>> for Noted<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(note) = request.extensions_mut().remove::<Arc<Note>>() {
            let is_same = match (&note.opinion, &self.comparison) {
                (Opinion::Admits(Some(key)), Some(is_same)) => is_same(key, request.extensions()),
                _ => true,
            };
            let _ = note.is_same.set(is_same);
        }
        self.inner.call(request)
    }
}

impl<S: fmt::Debug> fmt::Debug for Noted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noted").field("inner", &self.inner).finish_non_exhaustive()
    }
}
