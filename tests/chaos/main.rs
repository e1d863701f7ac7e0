//! What callers see while a server is in trouble: stopped and started again, silent, or slow. Real
//! servers, a real layer over a real cache, and requests that never stop.
//!
//! [`scenario`] is the course of each test, [`tally`] what may become of a request and what became
//! of all of them, which is printed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bus;
mod load;
mod node;
#[path = "../support/own.rs"]
mod own;
mod place;
#[path = "../support/proxy.rs"]
mod proxy;
mod scenario;
#[path = "../support/servers.rs"]
mod servers;
mod tally;

use std::{fmt::Debug, time::Duration};

use tokio::time::{Instant, sleep};

/// Far longer than anything takes, even on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_mins(2);

/// What a test needs before and beside the trouble, which a machine that is busy enough may refuse
/// for a while: stores give up after two seconds.
async fn patiently<T, E: Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < give_up, "{error:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}
