//! [`ExtAuthz`]: decides for Envoy, which asks over gRPC.

mod answer;
mod codec;
mod headers;
mod question;
mod service;

pub use self::{
    headers::DownstreamAddress,
    service::{ExtAuthz, ExtAuthzFuture},
};
