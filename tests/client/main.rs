//! `AttachApiKeyLayer` around clients: real ones against servers on this host, and where time matters
//! or the network would be another's, a service that answers as told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod attach;
#[path = "../support/child.rs"]
mod child;
mod connected;
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../support/figures.rs"]
mod figures;
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../support/log.rs"]
mod log;
mod mistakes;
mod redirects;
mod refused;
mod retry_after;
mod rotation;
mod support;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod told;
