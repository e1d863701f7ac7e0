//! The command line as people use it: as a process, from a shell, against real databases.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod changing;
mod cluster;
mod credits;
mod curl;
mod exit_codes;
mod exported;
mod files;
mod import;
mod limits;
mod listing;
mod misuse;
#[path = "../../../tests/support/other_system.rs"]
mod other_system;
mod own_redis;
#[path = "../../../tests/support/process.rs"]
mod process;
mod progress;
mod sealed;
#[path = "../../../tests/support/servers.rs"]
mod servers;
mod session;
mod shadow_report;
mod tables;
mod ten_thousand;
mod verifying;
