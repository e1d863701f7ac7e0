//! gRPC from outside: grpcio, the client of Python and of the library that many languages share, and
//! connections by hand.
//!
//! `scripts/test` installs grpcio; `TEST_WITHOUT=grpcio` leaves it out, and says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod denials;
#[cfg(feature = "ext-authz")]
mod ext_authz;
mod grpcio;
mod handlers;
#[path = "../support/python.rs"]
mod python;
mod retries;
mod serve;
#[cfg(feature = "ext-authz")]
#[path = "../support/smuggling.rs"]
mod smuggling;
mod web;
mod white_space;
