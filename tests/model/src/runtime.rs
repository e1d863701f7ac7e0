//! As `src/runtime/mod.rs`, with other locks and atomics: before each use of one, another thread may
//! run.

#[path = "../../../src/runtime/apart.rs"]
mod apart;
#[path = "../../../src/runtime/async_methods.rs"]
mod async_methods;
#[path = "../../../src/runtime/at_once.rs"]
mod at_once;
#[path = "../../../src/runtime/background.rs"]
mod background;
#[path = "../../../src/runtime/backoff.rs"]
mod backoff;
#[path = "../../../src/runtime/breaker.rs"]
mod breaker;
#[path = "../../../src/runtime/carried.rs"]
mod carried;
#[path = "../../../src/runtime/chance.rs"]
mod chance;
#[path = "../../../src/runtime/circuit.rs"]
mod circuit;
#[path = "../../../src/runtime/digest_map.rs"]
mod digest_map;
#[path = "../../../src/runtime/locks.rs"]
mod locks;
#[path = "../../../src/runtime/network.rs"]
mod network;
#[path = "../../../src/runtime/per_thread.rs"]
mod per_thread;
#[path = "../../../src/runtime/shareable.rs"]
mod shareable;
#[path = "../../../src/runtime/shared.rs"]
mod shared;

pub(crate) use shuttle::sync;

pub(crate) use self::{
    apart::Apart,
    async_methods::async_methods,
    at_once::{at_once, later},
    background::{Background, OwnedTask},
    backoff::Backoff,
    breaker::{Breaker, Change, PAUSE, Turn},
    carried::Carried,
    chance::chance,
    circuit::Circuit,
    digest_map::{DigestHash, DigestMap, MapDigest},
    locks::{Mutex, RwLock},
    network::Network,
    per_thread::PerThread,
    shareable::{Leave, Shareable},
    shared::{SharedCall, Waiter},
    thread::{THREADS, thread},
};

/// Each task of a model is a thread.
mod thread {
    pub(crate) const THREADS: usize = 64;

    pub(crate) fn thread() -> usize {
        usize::from(shuttle::current::me()) % THREADS
    }
}
