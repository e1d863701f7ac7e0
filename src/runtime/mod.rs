//! What runs the rest: shared calls, background tasks, locks and maps.

mod digest_map;
mod locks;

pub(crate) use self::{
    digest_map::{DigestHash, DigestMap, MapDigest},
    locks::{Mutex, RwLock},
};
