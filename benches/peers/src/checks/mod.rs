//! Checks, as proxies ask for them before they let a request on: servers, questions and the load.

pub mod load;
pub mod questions;
pub mod servers;

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
pub mod envoy {
    include!("../../../../tests/envoy/generated/mod.rs");
}
