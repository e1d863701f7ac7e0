//! [`Denial`]: why a layer inside lets a request not on.

use bytes::Bytes;
use http::{Extensions, Response};

use crate::{
    auth::{
        WouldDeny,
        attached::{LayerId, ShadowDecision, attach_in_shadow, no_key},
        authenticated::Absence,
    },
    key::RejectionKind,
    observe,
    rejection::{Rejection, respond_plainly},
    request::RequestHead,
};

/// A denial, or a mistake in the way in which the application is put together.
#[derive(Debug)]
pub struct Denial(Reason);

#[derive(Debug)]
enum Reason {
    Rejection(Box<Rejection>),
    Mistake(Absence),
}

impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        Self(Reason::Rejection(Box::new(rejection)))
    }
}

impl From<Absence> for Denial {
    fn from(absence: Absence) -> Self {
        if matches!(absence, Absence::NoKey(_)) {
            return Rejection::new(RejectionKind::Missing).into();
        }
        Self(Reason::Mistake(absence))
    }
}

impl Denial {
    /// Rendered plainly: the layer outside completes it.
    #[cold]
    pub(super) fn response(self, request: &RequestHead<'_>) -> Response<Bytes> {
        match self.0 {
            Reason::Rejection(rejection) => {
                rejection.observe();
                respond_plainly(*rejection, Some(request))
            }
            Reason::Mistake(absence) => absence.response(request),
        }
    }

    /// Tells of the denial in place of denying.
    pub(super) fn in_shadow(self, extensions: &mut Extensions) -> Option<WouldDeny> {
        // A layer further out would have denied the request, or could not decide.
        if extensions.get::<WouldDeny>().is_some()
            || no_key(extensions).is_some_and(|no_key| no_key.is_undecided)
        {
            return None;
        }
        let Reason::Rejection(rejection) = self.0 else {
            observe::undecided();
            return None;
        };
        rejection.observe_in_shadow();
        let would_deny = WouldDeny::new(*rejection);
        let decision = ShadowDecision::Deny(would_deny.clone());
        attach_in_shadow(extensions, LayerId::next_in_shadow(), decision);
        Some(would_deny)
    }
}
