//! What runs the rest: shared calls, background tasks, locks and maps.

mod digest_map;

pub(crate) use self::digest_map::{DigestHash, DigestMap, MapDigest};
