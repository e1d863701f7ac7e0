//! The tools that run the rest: shared calls, background tasks, bounded queues, locks and maps.

mod apart;
mod async_methods;
mod at_once;
mod background;
mod backoff;
#[cfg(feature = "legacy-hashes")]
mod before;
mod breaker;
mod carried;
mod chance;
mod circuit;
mod digest_map;
mod keyed_semaphore;
mod locks;
#[cfg(any(feature = "cache", feature = "legacy-hashes"))]
mod network;
mod per_thread;
#[cfg(feature = "cache")]
mod shareable;
mod shared;
mod task_lease;
mod thread;
pub(crate) mod watched_file;
mod wrapped;

// Engines take locks and atomics from here: `tests/model` has others in this place.
pub(crate) use std::sync;

#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
pub(crate) use self::background::OwnedTask;
#[cfg(feature = "legacy-hashes")]
pub(crate) use self::before::before;
#[cfg(any(feature = "cache", feature = "legacy-hashes"))]
pub(crate) use self::network::Network;
#[cfg(test)]
pub(crate) use self::thread::act_as_thread;
pub(crate) use self::{
    apart::Apart,
    async_methods::async_methods,
    at_once::{at_once, later},
    background::Background,
    backoff::Backoff,
    breaker::{Change, PAUSE, Turn},
    carried::Carried,
    chance::chance,
    circuit::Circuit,
    digest_map::{DigestHash, DigestMap, MapDigest},
    keyed_semaphore::{Bounds, KeyedSemaphore, Permit},
    locks::{Mutex, RwLock},
    per_thread::PerThread,
    shared::{SharedCall, Waiter},
    task_lease::{TaskLease, TaskSlot},
    thread::{THREADS, thread},
    wrapped::unwrapped,
};
#[cfg(feature = "cache")]
pub(crate) use self::{
    breaker::Breaker,
    shareable::{Leave, Shareable},
};
