//! The sidecar as a process of its own: as the guide starts it, behind nginx, and when it or its store is
//! treated badly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod envoy;
mod guide;
mod hostile;
mod metrics;
mod newcomer;
#[path = "../../../tests/support/process.rs"]
mod process;
#[path = "../../../tests/support/proxy.rs"]
mod proxy;
#[path = "../../../tests/support/python.rs"]
mod python;
mod refused;
#[path = "../../../tests/support/servers.rs"]
mod servers;
mod settings;
mod started;
mod trouble;
mod unit;
mod verify;
#[path = "../../../tests/support/web_server.rs"]
mod web_server;
