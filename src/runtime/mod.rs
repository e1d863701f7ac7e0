//! The tools that run the rest: shared calls, background tasks, locks and maps.

mod background;
#[cfg(feature = "cache")]
mod backoff;
mod breaker;
mod circuit;
mod digest_map;
mod locks;
mod shared;

// Engines take locks and atomics from here: `tests/model` has others in this place.
pub(crate) use std::sync;

pub(crate) use self::{
    background::Background,
    breaker::{PAUSE, Turn},
    circuit::Circuit,
    digest_map::{DigestHash, DigestMap, MapDigest},
    locks::{Mutex, RwLock},
    shared::{SharedCall, Waiter},
};
#[cfg(feature = "cache")]
pub(crate) use self::{background::OwnedTask, backoff::Backoff, breaker::Breaker};
