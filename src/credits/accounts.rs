//! [`Accounts`]: the lineages of which this node holds credits, or knows that they have none.

use std::{collections::HashMap, sync::Arc};

use super::{account::Account, parts::Parts};
use crate::{
    clock::Timestamp,
    key::KeyId,
    runtime::{DigestHash, RwLock},
};

/// Accounts by lineage. A request reads one of several maps, so that few wait for one that
/// adds a lineage.
pub(super) struct Accounts {
    shards: [RwLock<Shard>; SHARDS],
    /// What threads hold of them.
    pub(super) parts: Arc<Parts>,
}

type Shard = HashMap<Lineage, Arc<Account>, DigestHash>;

const SHARDS: usize = 16;

/// An id as a map's key: hashed by words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Lineage(u64, u64);

impl From<KeyId> for Lineage {
    #[inline]
    fn from(id: KeyId) -> Self {
        let id = u128::from_ne_bytes(*id.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        Self(id as u64, (id >> 64) as u64)
    }
}

impl Accounts {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), parts: Arc::default() }
    }

    /// The last byte of an id is random.
    #[inline]
    fn shard(&self, lineage: KeyId) -> &RwLock<Shard> {
        &self.shards[usize::from(lineage.as_bytes()[15]) % SHARDS]
    }

    /// Looks at the account of a lineage, if there is one.
    #[inline]
    pub(super) fn with<T>(
        &self,
        lineage: KeyId,
        look: impl FnOnce(&Arc<Account>) -> T,
    ) -> Option<T> {
        let shard = self.shard(lineage).read();
        shard.get(&lineage.into()).map(look)
    }

    /// The account of a lineage, a new one if there is none.
    pub(super) fn open(&self, lineage: KeyId) -> Arc<Account> {
        if let Some(account) = self.with(lineage, Arc::clone) {
            return account;
        }
        let mut shard = self.shard(lineage).write();
        let new = || Arc::new(Account::new(lineage, self.parts.clone()));
        shard.entry(lineage.into()).or_insert_with(new).clone()
    }

    /// Some of the accounts.
    pub(super) fn filter(&self, is_wanted: impl Fn(&Account) -> bool) -> Vec<Arc<Account>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            found.extend(shard.values().filter(|account| is_wanted(account)).cloned());
        }
        found
    }

    /// Forgets the accounts that hold and know nothing. True if there are none any more.
    pub(super) fn forget(&self, now: Timestamp) -> bool {
        let mut is_empty = true;
        for shard in &self.shards {
            let mut shard = shard.write();
            // A task that has one in hand may be about to put credits into it. No task gets one
            // anew while the map is locked.
            shard.retain(|_, account| {
                Arc::strong_count(account) > 1 || !account.is_forgettable(now)
            });
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
            is_empty &= shard.is_empty();
        }
        is_empty
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|s| s.read().is_empty())
    }
}
