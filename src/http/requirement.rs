//! [`ManagementScopes`]: the scopes that a key needs to manage others.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::Method;

use crate::{
    key::{KeyRecord, Scope, Scopes},
    manage::OwnerBounds,
    rejection::Rejection,
};

/// The scopes that a key needs to manage its owner's keys, see
/// [`ManagementGuard::requiring`](super::ManagementGuard::requiring). By default `keys:read` and
/// `keys:write`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementScopes {
    /// For requests that change nothing.
    pub read: Scope,
    /// For all others.
    pub write: Scope,
}

impl Default for ManagementScopes {
    fn default() -> Self {
        Self { read: Scope::known("keys:read"), write: Scope::known("keys:write") }
    }
}

impl ManagementScopes {
    /// Both of them.
    pub(super) fn all(&self) -> Scopes {
        [self.read.clone(), self.write.clone()].into_iter().collect()
    }

    /// Whether the holder of this key may send a request with this method.
    pub(super) fn check(&self, key: &Arc<KeyRecord>, method: &Method) -> Result<(), Box<Response>> {
        let needed = if method.is_safe() { &self.read } else { &self.write };
        if key.scopes.allow(needed) {
            return Ok(());
        }
        let missing = Scopes::from_iter([needed.clone()]);
        let rejection = Rejection::insufficient_scope(missing).with_record(key);
        rejection.observe();
        Err(Box::new(rejection.into_response()))
    }
}

/// The rules of a guard for its callers.
#[derive(Clone)]
pub(super) struct Rules {
    /// The scopes that keys need to manage others. No key that an owner makes comes to have them.
    pub(super) management: Option<ManagementScopes>,
    /// Unless owners may give it.
    pub(super) delegates: bool,
    pub(super) shares_credits: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let management = Some(ManagementScopes::default());
        Self { management, delegates: false, shares_credits: true }
    }
}

impl Rules {
    pub(super) fn apply(&self, bounds: OwnerBounds) -> OwnerBounds {
        let bounds = match &self.management {
            Some(scopes) if !self.delegates => bounds.withholding(scopes.all()),
            _ => bounds,
        };
        if self.shares_credits { bounds } else { bounds.refusing_shared_credits() }
    }

    /// Whether a key may be used for a request with this method.
    pub(super) fn check(
        &self,
        key: Option<&Arc<KeyRecord>>,
        method: &Method,
    ) -> Result<(), Box<Response>> {
        match (&self.management, key) {
            (Some(scopes), Some(key)) => scopes.check(key, method),
            _ => Ok(()),
        }
    }
}
