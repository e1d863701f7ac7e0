//! The feature `testing`: [`kit`] makes keys and asserts denials; [`mistakes`] plants faults in
//! applications, which the guard audit finds, [`plain`] audits services without axum, and [`reference`]
//! the reference server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod kit;
mod mistakes;
mod plain;
mod reference;

// The reference server's router, by its own files.
#[path = "../../examples/server/app.rs"]
mod app;
#[path = "../../examples/server/business.rs"]
mod business;
#[allow(dead_code, reason = "the origins are read from the environment elsewhere")]
#[path = "../../examples/server/cors.rs"]
mod cors;
#[path = "../../examples/server/docs.rs"]
mod docs;
#[path = "../../examples/server/me.rs"]
mod me;
#[allow(dead_code, reason = "a recorder is installed elsewhere")]
#[path = "../../examples/server/metrics.rs"]
mod metrics;
#[path = "../../examples/server/query.rs"]
mod query;
#[path = "../../examples/server/users.rs"]
mod users;
