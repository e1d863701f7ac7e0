//! The reference server as a process of its own, asked by the real `curl`: its HTTP contract, and
//! what happens to it and its keys when it is treated badly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod admin;
mod bad_input;
mod browser;
mod changes;
#[path = "../support/chromium.rs"]
mod chromium;
mod connections;
mod credentials;
mod databases;
mod docs;
mod h2;
mod h2_floods;
mod hostile;
mod leaks;
mod limited;
mod limits;
mod lists;
mod managed;
mod metrics;
mod nginx;
#[path = "../support/nginx.rs"]
mod nginx_configuration;
#[path = "../support/process.rs"]
mod process;
mod proxies;
mod queries;
mod redis;
mod restarts;
mod routes;
mod sealed;
#[path = "../support/servers.rs"]
mod servers;
mod serving;
mod sets;
mod shutdown;
mod slow;
mod start;
mod support;
#[path = "../support/web_server.rs"]
mod web_server;
