//! [`ForwardAuth`]: decides for a proxy in front of services in any language.

mod builder;
mod decision;
#[cfg(feature = "ext-authz")]
pub(crate) mod envoy;
mod flavour;
mod future;
mod granting;
mod original;
mod routes;
mod service;
mod target;

pub use self::{builder::ForwardAuthBuilder, future::ForwardAuthFuture, service::ForwardAuth};
