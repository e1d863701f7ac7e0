//! How much keys may use a service: rate limits, credits and failed guesses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod credits;
mod local;
#[cfg(feature = "redis")]
mod redis;
#[path = "../support/servers.rs"]
mod servers;
mod throttle;
