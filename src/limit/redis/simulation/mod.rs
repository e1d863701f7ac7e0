//! Nodes with leases and without, one server and everything that goes wrong between them, in one thread and on
//! a clock that moves to the next thing that happens. A seed repeats a run, and [books] are held against the
//! documentation of [`RedisLimiter`](super::RedisLimiter).
//!
//! 200 seeds as a test; `scripts/simulate` runs more. `SEED=7` runs one, `SEEDS=0..10000` many.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "of small numbers"
)]

mod books;
mod calm;
#[path = "../../../../tests/simulation/campaign.rs"]
mod campaign;
#[path = "../../../../tests/simulation/random.rs"]
mod random;
mod real;
mod run;
mod scripts;
mod server;
mod tests;

use self::campaign::Ran;
pub(super) use self::{scripts::Kind, server::Wire};

/// What has to happen in some of the runs: a campaign in which one of these never did has shown nothing of
/// it.
const SOMETIMES: &[&str] = &[
    "a batch was given back",
    "a batch was there when the next one came",
    "a bucket was forgotten",
    "a call may overtake another",
    "a call was refused",
    "a call was repeated",
    "a call was silent",
    "a caller went away",
    "a crash cost no more than what was held",
    "a denied request came again in time",
    "a lease had ended when its answer came",
    "a lease was given back while a longer one was out",
    "a lease took back what the server had let in",
    "a lease was lost in a crash",
    "a node crashed",
    "a node was closed",
    "a node was cut off",
    "a part of what was given back had melted",
    "a request cost more than a burst",
    "a request could not be counted",
    "a request of a node with leases was counted by the server",
    "a request waited for a lease",
    "a request was counted by the server",
    "a request was denied by the server",
    "a request was denied from memory",
    "a request was given back after its lease had ended",
    "a request was given back to a node",
    "a request was given back to the server",
    "a request was given back while a lease was out",
    "a request was let in from memory",
    "a request went back into its batch",
    "a rest was given back",
    "a script was run whose caller was gone",
    "a server lent less than was wanted",
    "a server lent nothing",
    "an answer was lost",
    "answers were lost",
    "callers shared a call",
    "half of a lease had passed when its answer came",
    "idle nodes gave back what they had",
    "limits were changed",
    "nodes that were closed gave back what they had",
    "the next batch was asked for ahead",
    "the server was down",
    "the server was silent",
    "the server was slow",
];

#[test]
fn the_promise_of_leases_holds() {
    campaign::hold(SOMETIMES, &[], |seed| {
        let run::Outcome { violations, simulated, requests, seen, .. } = run::run(seed);
        Ran { violations, simulated, requests, seen }
    });
}

#[test]
fn a_seed_repeats_its_run() {
    for seed in 0..5 {
        assert_eq!(run::run(seed).digest, run::run(seed).digest, "SEED={seed}");
    }
    assert_ne!(run::run(0).digest, run::run(1).digest);
}
