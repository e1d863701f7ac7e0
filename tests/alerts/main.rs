//! The alert rules and the dashboard in `docs/grafana`, in a real Prometheus that scrapes real services. Each
//! service is a process, and all but one have a trouble of their own, which is caused for real: its alerts fire and
//! no others. [`scenarios`] is the table.
//!
//! The rules are those of the file, with shorter times: seconds where it has minutes. Thresholds and
//! expressions stay as they are. `rules.yml`, for `promtool`, has cases with the times of the file.
//!
//! `scripts/alerts` runs this, and draws the dashboard from the answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod back_ends;
mod dashboard;
mod load;
mod lookups;
#[path = "../support/own.rs"]
mod own;
mod picture;
mod plot;
#[path = "../support/process.rs"]
mod process;
mod prometheus;
#[path = "../support/proxy.rs"]
mod proxy;
mod requests;
mod run;
mod scenarios;
#[path = "../support/servers.rs"]
mod servers;
mod service;
mod wait;
#[path = "../support/web_server.rs"]
mod web_server;
