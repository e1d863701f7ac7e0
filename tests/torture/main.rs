//! Real servers, three nodes as processes, and whatever goes wrong with them: processes stop, are killed and
//! start again, the bus and the store fail over, the network is slow, loses packets or is half open. The
//! checker of the [simulation](history) holds every request against the history of the keys.
//!
//! Some seconds of it as tests; `scripts/torture` does it for minutes, and at full speed.
//!
//! A machine that is busy with something else must not fail a test. So changes may take [`GENEROUS`] to have an
//! effect, and what they took is shown. A replica is two seconds behind, which is longer than that.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod ask;
mod clock;
mod faults;
mod fleet;
#[path = "../simulation/history/mod.rs"]
mod history;
mod load;
mod node;
mod outcome;
#[path = "../support/own.rs"]
mod own;
#[path = "../support/pairs.rs"]
mod pairs;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../simulation/random.rs"]
mod random;
mod record;
mod replication;
mod runs;
#[path = "../support/servers.rs"]
mod servers;
mod tries;

use std::{
    env,
    io::{Write, stderr},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// From an acknowledgement to its effect on every node that could hear it: what is promised, and a machine
/// that is busy with something else.
const GENEROUS: Duration = Duration::from_millis(1_500);

/// Two fleets at a time, which a small machine can carry. Where figures count, a test has it for itself.
async fn turn() -> SemaphorePermit<'static> {
    const FLEETS: u32 = 2;
    static TURNS: Semaphore = Semaphore::const_new(FLEETS as usize);
    TURNS.acquire_many(if is_short() { 1 } else { FLEETS }).await.unwrap()
}

/// Whether this is no more than a part of all tests.
fn is_short() -> bool {
    seconds().is_none()
}

/// How long `scripts/torture` is to take.
fn seconds() -> Option<u64> {
    setting("TORTURE_SECONDS")
}

/// A number of the environment.
fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.trim().parse().expect("a number"))
}

/// Past the test harness, which shows only what failing tests print.
fn show(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
