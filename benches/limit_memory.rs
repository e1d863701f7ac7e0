//! Memory of a rate limiter that a million different keys have used, while they owe something and
//! when they do not any more.
//!
//! `cargo bench --all-features --bench limit_memory`. On Linux, which says how much memory a
//! process has.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "for a ratio that people read")]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/mode.rs"]
mod mode;

use std::time::Duration;

use memory::resident;
use tower_api_key::{
    KeyId, Timestamp,
    clock::SettableClock,
    limit::{
        Limit, LimitCheck, LimitDecision, LimitSubject, Limits, LocalLimiter, Quota, RateLimiter,
    },
    nonzero,
};

fn keys() -> u32 {
    if mode::measures() { 1_000_000 } else { 10_000 }
}

fn main() {
    let keys = keys();
    let clock = SettableClock::new(Timestamp::from_unix_millis(1_795_392_000_000));
    let limiter =
        LocalLimiter::builder().with_capacity(2 * keys as usize).with_clock(clock.clone()).build();
    let limits = Limits::new([Limit::new("minute", Quota::per_minute(nonzero!(60))).unwrap()]);
    let limits = limits.unwrap();
    // A round before, so that what the process needs anyway is there.
    for round in ["first", "second", "third"] {
        let before = resident();
        for number in 0..keys {
            let mut id = [0; 16];
            id[12..].copy_from_slice(&number.to_be_bytes());
            let check = LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes(id)), &limits);
            assert!(matches!(limiter.check_now(&check), Some(LimitDecision::Allow(_))));
        }
        let (busy, entries) = (resident(), limiter.len());
        clock.advance(Duration::from_secs(2));
        limiter.reclaim();
        let (idle, left) = (resident(), limiter.len());
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        println!(
            "{round} time: {} MiB before, {} MiB with {entries} entries ({} bytes each), {} MiB \
             with {left} ({:.2} times what was before)",
            mib(before),
            mib(busy),
            busy.saturating_sub(before) / entries,
            mib(idle),
            idle as f64 / before as f64,
        );
    }
}
