//! The contract with clients, the same for both servers: a part of the tests of each, which has a module
//! `server` with its tools.

pub(crate) mod client;
mod denials;
mod sessions;
pub(crate) mod streams;
mod tools;
