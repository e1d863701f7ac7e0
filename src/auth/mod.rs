//! The request, from the layer to the response. [`authenticate`] has the decision order.

pub(crate) mod attached;
mod authenticate;
pub(crate) mod authenticated;
mod body;
mod cache_policy;
mod challenge;
pub(crate) mod config;
mod deprecation;
pub(crate) mod extract;
mod future;
mod layer;
mod preflights;
mod service;

pub use self::{
    authenticated::AuthenticatedKey,
    body::ResponseBody,
    extract::{KeySource, Precedence},
    future::ResponseFuture,
    layer::ApiKeyLayer,
    preflights::{PassPreflights, PassPreflightsLayer},
    service::ApiKeyAuth,
};
