//! [`WouldDeny`] and [`Difference`]: the report of a layer in shadow on a request.

use std::sync::Arc;

use http::{Extensions, StatusCode};

use crate::rejection::Rejection;

/// The denial that a layer in shadow would have answered with.
///
/// It is in the extensions of the request, for handlers, and of the response, for layers outside. Where
/// several layers in shadow would have denied a request, it is the outermost one's, with which the request
/// would have ended.
#[derive(Clone, Debug)]
pub struct WouldDeny(Arc<Rejection>);

impl WouldDeny {
    #[cold]
    pub(crate) fn new(rejection: Rejection) -> Self {
        Self(Arc::new(rejection))
    }

    /// The denial.
    pub fn rejection(&self) -> &Rejection {
        &self.0
    }
}

/// A difference between an [`ApiKeyLayer`](crate::ApiKeyLayer) and the check beside it, in the extensions of
/// the response; see [`shadowing`](crate::ApiKeyLayer::shadowing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// The layer would have let the request in, and the other check has answered it with this status.
    OnlyOtherDenies(StatusCode),
    /// The layer would have denied the request, and the other check has let it in. The response has a
    /// [`WouldDeny`] as well.
    OnlyKeysDeny,
    /// Both deny the request, the other check with this status, which is not the layer's.
    OtherStatus(StatusCode),
    /// Both let the request in, as [different callers](crate::auth::ShadowingLayer::with_comparison).
    OtherIdentity,
}

impl Difference {
    /// As it stands in events and metrics.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::OnlyOtherDenies(_) => "only_other_denies",
            Self::OnlyKeysDeny => "only_keys_deny",
            Self::OtherStatus(_) => "other_status",
            Self::OtherIdentity => "other_identity",
        }
    }
}

/// In the extensions of every response that has passed a layer in shadow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InShadow;

impl InShadow {
    /// Marks a response, and says with which denial it would have ended.
    pub(crate) fn tell(would_deny: Option<WouldDeny>, extensions: &mut Extensions) {
        extensions.insert(Self);
        if let Some(would_deny) = would_deny {
            extensions.insert(would_deny);
        }
    }

    /// Keeps both where another response takes the place of a marked one.
    pub(crate) fn keep(from: &Extensions, to: &mut Extensions) {
        if from.get::<Self>().is_some() {
            Self::tell(from.get::<WouldDeny>().cloned(), to);
        }
    }
}
