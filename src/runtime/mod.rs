//! The tools that run the rest: shared calls, background tasks, locks and maps.

mod background;
mod digest_map;
mod locks;
mod shared;

#[cfg(feature = "cache")]
pub(crate) use self::background::Running;
pub(crate) use self::{
    background::Background,
    digest_map::{DigestHash, DigestMap, MapDigest},
    locks::{Mutex, RwLock},
    shared::{SharedCall, Waiter},
};
