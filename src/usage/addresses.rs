//! [`LastAddresses`]: where keys were last used from.

use std::{collections::HashMap, net::IpAddr, sync::MutexGuard};

use crate::key::KeyId;
use crate::runtime::Mutex;

/// The address of the last use of each key that was used since uses were last collected.
///
/// Not on the record, where every key in a cache would pay for it with memory.
#[derive(Default)]
pub(super) struct LastAddresses([Mutex<HashMap<KeyId, IpAddr>>; SHARDS]);

/// So that requests with different keys seldom wait for each other.
const SHARDS: usize = 16;

impl LastAddresses {
    fn shard(&self, key: KeyId) -> MutexGuard<'_, HashMap<KeyId, IpAddr>> {
        // The last byte of an id is random.
        let [.., last] = *key.as_bytes();
        self.0[usize::from(last) % SHARDS].lock()
    }

    pub(super) fn note(&self, key: KeyId, address: IpAddr) {
        self.shard(key).insert(key, address);
    }

    pub(super) fn take(&self, key: KeyId) -> Option<IpAddr> {
        self.shard(key).remove(&key)
    }
}
