//! Services behind real proxies, which ask a `ForwardAuth` about each request: nginx, Caddy and `HAProxy`
//! as the guide configures them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod application;
mod cache;
mod cases;
mod gateway;
#[path = "../support/nginx.rs"]
mod nginx;
#[path = "../support/process.rs"]
mod process;
mod proxies;
mod smuggled;
#[path = "../support/smuggling.rs"]
mod smuggling;
#[path = "../support/web_server.rs"]
mod web_server;
