//! `CachedStore` and `CachedOwners` from outside: what they answer, and how often they ask what is
//! behind them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::unchecked_time_subtraction, reason = "of times that stand in the tests")]

mod barrier;
mod batches;
mod bounds;
mod budget;
mod changes;
#[path = "../support/child.rs"]
mod child;
mod cold_start;
mod expiry;
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../support/figures.rs"]
mod figures;
mod flood;
mod guesses;
mod hand_over;
mod listening;
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../support/log.rs"]
mod log;
mod meanwhile;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod observed;
mod outage;
mod owners;
mod peppers;
mod ranks;
mod refresh;
mod sealed;
mod shared;
mod slow;
mod streams;
mod support;
mod threads;
mod watermarks;
