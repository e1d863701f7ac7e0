//! The keys that all stacks know, and the stores that have them.

use std::{
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    KeyFormat, KeyHasher, KeyId, OwnerId, Scopes, Timestamp,
    credits::Balance,
    key::{KeyDigest, KeyRecord},
    store::{BalanceUpdate, CachedStore, Changes, KeyRepository, KeyStore, MemoryStore},
};

use crate::by_hand::{Record, Records};

/// The most keys whose text is kept, to send them.
const SENT: usize = 100_000;

/// Many keys, and the stores that have them, each filled when it is first asked for.
#[derive(Debug)]
pub struct Keys {
    runtime: Runtime,
    format: KeyFormat,
    sent: Vec<String>,
    records: Arc<Records>,
    memory: OnceLock<MemoryStore>,
    with_credits: OnceLock<MemoryStore>,
    cached: OnceLock<CachedStore<MemoryStore>>,
}

impl Keys {
    /// So many keys.
    pub fn new(count: usize) -> Self {
        let format = KeyFormat::new("key").expect("a prefix");
        let hasher = KeyHasher::sha256();
        let mut sent = Vec::with_capacity(count.min(SENT));
        let mut records = Records::default();
        records.reserve(count);
        let step = count.div_ceil(SENT);
        for number in 0..count {
            let secret = format.generate().expect("random bytes");
            let digest = *hasher.digest(secret.expose()).as_bytes();
            let id = KeyId::generate(SystemTime::now().into()).expect("random bytes");
            let record = Record {
                id: *id.as_bytes(),
                digest,
                name: format!("deployment {number:09}"),
                owner: format!("user-{number:07}"),
                scopes: ["orders:read", "stock:write"].map(str::to_owned).into(),
                is_revoked: false,
                expires_at: None,
            };
            records.insert(digest, Arc::new(record));
            if number % step == 0 {
                sent.push(secret.expose().to_owned());
            }
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self {
            runtime: runtime.expect("a runtime"),
            format,
            sent,
            records: Arc::new(records),
            memory: OnceLock::new(),
            with_credits: OnceLock::new(),
            cached: OnceLock::new(),
        }
    }

    /// Where what the stores and the layer do in the background goes on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The format of the keys.
    pub fn format(&self) -> &KeyFormat {
        &self.format
    }

    /// The keys that are sent: all of them, or some of very many.
    pub fn sent(&self) -> &[String] {
        &self.sent
    }

    /// A well-formed key that no store has, another one each time.
    pub fn unknown(&self) -> String {
        self.format.generate().expect("random bytes").expose().to_owned()
    }

    /// All keys, as an application would keep them.
    pub fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// All keys in memory.
    pub fn memory(&self) -> &MemoryStore {
        self.memory.get_or_init(|| self.filled(None))
    }

    /// All keys in memory, with more credits than are ever spent.
    pub fn with_credits(&self) -> &MemoryStore {
        self.with_credits.get_or_init(|| self.filled(Some(1 << 50)))
    }

    /// All keys in a cache.
    pub fn cached(&self) -> &CachedStore<MemoryStore> {
        self.cached.get_or_init(|| self.cache(self.memory().clone()))
    }

    /// A cache that has all keys of this store, and that never refuses to look up more.
    pub fn cache<S: KeyStore>(&self, store: S) -> CachedStore<S> {
        let long = Duration::from_hours(24);
        let cache = CachedStore::builder(store)
            .with_capacity(self.records.len() * 5 / 4 + 100_000)
            .with_ttl(long)
            .with_not_found_ttl(long)
            .with_lookup_budget(NonZeroU32::MAX)
            .build();
        self.runtime.block_on(async {
            for digest in self.records.keys() {
                let found = cache.find(&KeyDigest::from_bytes(*digest)).await;
                assert!(found.expect("an answer").is_some());
            }
        });
        cache
    }

    fn filled(&self, credits: Option<u64>) -> MemoryStore {
        let store = MemoryStore::new();
        let now = Timestamp::from(SystemTime::now());
        let mut records = self.records.values();
        loop {
            let mut changes = Changes::default();
            for record in records.by_ref().take(10_000) {
                let mut record = layered(record, now);
                if let Some(remaining) = credits {
                    let balance = Balance::new(remaining, None, now);
                    record.details.credits = Some(balance.epoch);
                    let lineage = record.lineage();
                    let update = BalanceUpdate { lineage, balance, expected: None, due: None };
                    changes.balances.push(update);
                }
                changes.inserts.push(record);
            }
            if changes.inserts.is_empty() {
                return store;
            }
            self.runtime.block_on(store.apply(&changes)).expect("keys in memory");
        }
    }
}

/// The same key as the layer keeps it.
pub fn layered(record: &Record, now: Timestamp) -> KeyRecord {
    let digest = KeyDigest::from_bytes(record.digest);
    let id = KeyId::from_bytes(record.id);
    let mut kept = KeyRecord::new(id, digest, record.name.as_str(), now);
    kept.owner = Some(OwnerId::new(record.owner.as_str()));
    kept.scopes = Scopes::parse(&record.scopes).expect("scopes");
    kept
}
