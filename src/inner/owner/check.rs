//! [`OwnerCheck`]: what becomes of a request.

use http::Request;

use super::layer::{Answer, Config};
use crate::{
    auth::{
        attached::{self, LayerId},
        authenticated,
        revocation::OwnerJudge,
    },
    inner::waiting::{Next, WaitingLayer, WaitingService, deny, wait},
    key::{OwnerId, RejectionKind},
    rejection::Rejection,
    runtime::async_methods,
    store::Lookup,
};

/// The middleware that [`OwnerLayer`](super::OwnerLayer) puts around a service.
pub type ResolveOwner<S, T> = WaitingService<S, OwnerCheck<T>>;

/// Decides for an [`OwnerLayer`](super::OwnerLayer).
pub struct OwnerCheck<T> {
    pub(super) config: Config<T>,
    pub(super) id: LayerId,
}

impl<T: Send + Sync + 'static> WaitingLayer for OwnerCheck<T> {
    type Answer = Answer<T>;
    type Report = ();

    fn judge<B>(&self, request: &mut Request<B>, _: bool) -> Next<Self> {
        let config = &self.config;
        let key = match authenticated::require_unless(config.allow_anonymous, request) {
            Ok(Some(key)) => key,
            Ok(None) => return Next::Admit(()),
            Err(absence) => return Next::Deny(absence.into()),
        };
        let Some(id) = key.owner() else { return self.settle(request, Ok(None)) };
        match config.resolver.resolve_now(id) {
            Some(Lookup::Found(owner)) => self.settle(request, Ok(Some(owner))),
            Some(Lookup::NotFound) => self.settle(request, Ok(None)),
            None => {
                let answer = config.resolve(id.clone());
                wait(request, &config.waiting, answer)
            }
        }
    }

    /// Goes on with the resolver's answer.
    fn settle<B>(&self, request: &mut Request<B>, answer: Answer<T>) -> Next<Self> {
        match answer.map(|owner| owner.filter(|owner| self.config.is_active(owner))) {
            Ok(Some(owner)) => {
                attached::attach_owner(request.extensions_mut(), owner.into_inner(), self.id);
                Next::Admit(())
            }
            Ok(None) => deny(request, Rejection::new(RejectionKind::InactiveOwner)),
            Err(error) => deny(request, Rejection::unavailable(RejectionKind::Unavailable, error)),
        }
    }
}

impl<T: Send + Sync + 'static> OwnerJudge for OwnerCheck<T> {
    async_methods! {
        async fn is_active(&self, owner: &OwnerId) -> Option<bool> {
            let answer = match self.config.resolver.resolve_now(owner) {
                Some(Lookup::Found(owner)) => Some(owner),
                Some(Lookup::NotFound) => None,
                None => self.config.resolve(owner.clone()).await.ok()?,
            };
            Some(answer.is_some_and(|owner| self.config.is_active(&owner)))
        }
    }
}

impl<T> std::fmt::Debug for OwnerCheck<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnerCheck").finish_non_exhaustive()
    }
}
