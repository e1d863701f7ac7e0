//! [`Denial`]: why a layer inside lets a request not on.

use bytes::Bytes;
use http::{Extensions, Response};

use crate::{
    auth::{
        WouldDeny,
        attached::{LayerId, ShadowDecision, attach_in_shadow, no_key},
        authenticated::{Absence, respond_inside},
    },
    observe,
    rejection::Rejection,
    request::RequestHead,
};

/// A denial, or what to do about the program, which is put together in a way in which it cannot decide.
#[derive(Debug)]
pub struct Denial(Result<Box<Rejection>, &'static str>);

impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        Self(Ok(Box::new(rejection)))
    }
}

impl From<Absence> for Denial {
    fn from(absence: Absence) -> Self {
        Self(absence.denial().map(Box::new))
    }
}

impl Denial {
    #[cold]
    pub(super) fn response(self, request: &RequestHead<'_>) -> Response<Bytes> {
        respond_inside(self.0.map(|rejection| *rejection), request)
    }

    /// Tells of the denial in place of denying.
    pub(super) fn in_shadow(
        self,
        layer: LayerId,
        extensions: &mut Extensions,
    ) -> Option<WouldDeny> {
        // A layer further out would have denied the request, or could not decide.
        if extensions.get::<WouldDeny>().is_some()
            || no_key(extensions).is_some_and(|no_key| no_key.is_undecided)
        {
            return None;
        }
        let Ok(rejection) = self.0 else {
            observe::undecided();
            return None;
        };
        rejection.observe_in_shadow();
        let would_deny = WouldDeny::new(*rejection);
        attach_in_shadow(extensions, layer, ShadowDecision::Deny(would_deny.clone()));
        Some(would_deny)
    }
}
