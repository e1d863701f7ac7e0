//! The layer beside what else checks API keys: all of them over the same keys, with the same requests,
//! in front of the same service.
//!
//! | program | |
//! |---|---|
//! | `in_process` | time for each request, and what a second thread brings |
//! | `allocations` | allocations for each request |
//! | `instructions` | one stack so many times, for a counter of instructions |

pub mod arguments;
pub mod by_hand;
pub mod drive;
pub mod inner;
pub mod keys;
#[cfg(feature = "axum")]
pub mod middleware;
pub mod ours;
pub mod requests;
pub mod sharded;
pub mod stack;
pub mod statistics;
pub mod tower_http;
