//! The layer beside what else checks API keys: all of them over the same keys, with the same requests,
//! in front of the same service.
//!
//! | program | |
//! |---|---|
//! | `in_process` | time for each request, and what a second thread brings |
//! | `allocations` | allocations for each request |
//! | `instructions` | one stack so many times, for a counter of instructions |
//! | `over_http` | requests a second over HTTP, beside services in other languages |
//! | `checks` | checks a second of a proxy, over HTTP and gRPC |
//! | `database` | requests a second whose key is looked up in a database |
//! | `render` | writes `docs/performance.md` from what the others found |

pub mod arguments;
pub mod by_hand;
#[cfg(feature = "checks")]
pub mod checks;
pub mod drive;
#[cfg(feature = "http")]
pub mod http_load;
#[cfg(feature = "http")]
pub mod http_server;
pub mod inner;
pub mod keys;
#[cfg(feature = "axum")]
pub mod middleware;
pub mod ours;
#[cfg(feature = "http")]
pub mod process;
pub mod requests;
pub mod sharded;
pub mod stack;
pub mod statistics;
pub mod tower_http;
