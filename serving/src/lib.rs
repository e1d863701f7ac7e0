//! How the reference server and the sidecar of `tower-api-key` serve an axum `Router`.
//!
//! [`serve`] accepts a bounded number of connections, bounds how long a client may take, and finishes
//! requests when it is told to stop. [`Signals`] waits for SIGINT, SIGTERM and SIGHUP, and
//! [`log_to_stderr`] keeps keys out of the log.

mod connections;
mod logs;
mod signals;

pub use connections::{Slots, fitting_connections, serve};
pub use logs::log_to_stderr;
pub use signals::Signals;
