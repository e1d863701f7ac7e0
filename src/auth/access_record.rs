//! [`AccessRecord`]: for access logs outside of the layer.

use http::Extensions;

use super::authenticate::Admission;
use crate::{
    key::{KeyId, OwnerId, RejectionKind},
    rejection::Rejection,
};

/// The key of a request, and the decision about it, in the extensions of its response: for access logs and
/// metrics outside, which see the request before it has an identity.
///
/// A layer tells it [if asked to](crate::ApiKeyLayer::with_access_records). Of several layers on the way, the
/// record of the innermost stays.
///
/// ```
/// use http::Response;
/// use tower_api_key::auth::{AccessOutcome, AccessRecord};
///
/// fn log<B>(response: &Response<B>) {
///     let Some(access) = response.extensions().get::<AccessRecord>() else { return };
///     let key = access.key.map(|id| id.to_string()).unwrap_or_default();
///     match access.outcome {
///         AccessOutcome::Admitted => println!("{} {key}", response.status()),
///         AccessOutcome::WithoutKey => println!("{}", response.status()),
///         AccessOutcome::Denied(kind) => println!("{} {key} {}", response.status(), kind.code()),
///         _ => {}
///     }
/// }
/// # log(&Response::new(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessRecord {
    /// The key, where it is known: also of many denials.
    pub key: Option<KeyId>,
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The decision.
    pub outcome: AccessOutcome,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessOutcome {
    /// Let in with a good key.
    Admitted,
    /// Let in without one: by the bypass, as a preflight, or without a credential where that is allowed. Or
    /// left to [another layer](crate::ApiKeyLayer::or_else), which may have denied it.
    WithoutKey,
    /// Denied, by the layer or by one inside.
    Denied(RejectionKind),
}

impl AccessRecord {
    /// Of a request that was let in like this.
    #[cold]
    pub(super) fn of(admission: &Admission) -> Self {
        match admission {
            Admission::Authenticated { key, .. } => Self {
                key: Some(key.id()),
                owner: key.owner().cloned(),
                outcome: AccessOutcome::Admitted,
            },
            Admission::PassBy | Admission::Preflight | Admission::Anonymous => {
                Self { key: None, owner: None, outcome: AccessOutcome::WithoutKey }
            }
        }
    }

    #[cold]
    pub(super) fn of_denial(rejection: &Rejection) -> Self {
        Self {
            key: rejection.key(),
            owner: rejection.record().and_then(|record| record.owner.clone()),
            outcome: AccessOutcome::Denied(rejection.kind()),
        }
    }

    /// Tells it, unless a layer further in has.
    #[cold]
    pub(super) fn tell(self, extensions: &mut Extensions) {
        if extensions.get::<Self>().is_none() {
            extensions.insert(self);
        }
    }
}
