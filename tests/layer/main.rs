//! The layer from outside: real requests through `tower::ServiceBuilder`, time from
//! `SettableClock`. [`decision_order`] goes through the steps that the crate's documentation
//! numbers; the other modules look at one matter each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[cfg(feature = "axum")]
mod axum;
mod cache_headers;
mod decision_order;
mod denials;
mod extraction;
mod grpc;
mod hide;
mod hook;
mod hostile;
mod lookups;
#[cfg(feature = "axum")]
mod manage_http;
mod manager;
mod marker_traits;
mod nested;
mod owner;
mod pass_by;
mod readiness;
mod renewal;
mod scopes;
mod secrets;
mod stores;
mod support;
mod update;
mod usage;
