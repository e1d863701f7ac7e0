//! gRPC from outside: grpcio, the client of Python and of the library that many languages share, and
//! connections by hand.
//!
//! `scripts/test` installs grpcio; `TEST_WITHOUT=grpcio` leaves it out, and says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod denials;
mod grpcio;
mod handlers;
mod retries;
mod serve;
mod web;
mod white_space;
