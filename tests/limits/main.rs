//! How much keys may use a service: what counts requests, and what spends credits. What a layer does
//! with it is tested in `tests/layer/limits`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "what was counted is shown")]

mod credits;
mod local;
#[cfg(feature = "redis")]
#[path = "../support/proxy.rs"]
mod proxy;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
#[path = "../support/servers.rs"]
mod servers;
