//! Shadow mode: a layer that decides on every request and changes nothing of it.
//!
//! [`ShadowLayer`] stands where the enforcing layer will stand. [`ShadowingLayer`] stands there together
//! with the check that it is to take the place of. Both decide with the settings of
//! [`Config::apart`](super::config::Config), whose counts are their own.

mod apart;
mod beside;
mod decide;
mod enforcement;
mod future;
mod layer;
mod noted;
mod period;
mod service;
mod would_deny;

pub use self::{
    beside::{Shadowing, ShadowingLayer},
    enforcement::{Enforcement, Unidentified},
    future::{ShadowFuture, ShadowingFuture},
    layer::ShadowLayer,
    noted::Noted,
    service::Shadow,
    would_deny::{Difference, WouldDeny},
};
pub(crate) use self::{period::Shade, would_deny::InShadow};
