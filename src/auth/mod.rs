//! The request, from [`ApiKeyLayer`] to the response: the layer and its service, where keys are
//! looked for, the identity that it attaches, the body of its responses, and what hooks and guards
//! see of a request.

mod access_record;
pub(crate) mod attached;
mod authenticate;
pub(crate) mod authenticated;
#[cfg(feature = "axum")]
mod axum_service;
mod body;
mod cache_policy;
mod challenge;
pub(crate) mod config;
mod counted;
mod decision;
mod deprecation;
pub(crate) mod extract;
mod forwarded;
mod future;
mod layer;
mod or_else;
mod preflights;
mod resource_metadata;
mod response_plan;
pub(crate) mod revocation;
pub(crate) mod service;
pub(crate) mod shadow;
mod shared_config;
#[cfg(feature = "axum")]
pub(crate) mod stated;
mod waiting_limit;

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::axum_service::{AxumFuture, AxumService};
pub use self::{
    access_record::{AccessOutcome, AccessRecord},
    authenticated::AuthenticatedKey,
    body::ResponseBody,
    extract::{CustomSource, HiddenPlaces, KeySource, Precedence},
    forwarded::ForwardedFor,
    future::ResponseFuture,
    layer::ApiKeyLayer,
    or_else::{OrElse, OrElseBody, OrElseFuture, OrElseLayer},
    preflights::{PassPreflights, PassPreflightsLayer},
    revocation::Revocation,
    service::ApiKeyAuth,
    shadow::{
        Difference, Enforcement, Noted, Shadow, ShadowFuture, ShadowLayer, Shadowing,
        ShadowingFuture, ShadowingLayer, Unidentified, WouldDeny,
    },
    waiting_limit::{WaitingLimit, WaitingLimitBuilder},
};
pub use crate::{
    request::{ClientAddress, RequestHead},
    throttle::{FailureThrottle, FailureThrottleBuilder},
};
