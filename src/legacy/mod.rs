//! [`LegacyHashes`]: keys that another system stored as slow hashes, until they are first used.

mod calls;
mod hash;
mod index;
mod loading;
mod prove;
mod settings;
mod verification;
mod workers;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Mutex as AsyncMutex;

use self::{
    calls::{Calls, Outcome},
    index::Index,
    loading::Loading,
    settings::Settings,
    workers::Workers,
};
pub use self::{hash::InvalidLegacyHash, settings::LegacyHashesBuilder};
use crate::{
    error::StoreError,
    key::KeyDigest,
    runtime::{Apart, Bounds, KeyedSemaphore, Mutex, RwLock},
    store::KeyRepository,
};

/// Lets in keys that another system stored as bcrypt or argon2 hashes, and stores their fast
/// digest when they are first used: the slow hash is paid for once.
///
/// Import each key as a [`KeyRecord`](crate::key::KeyRecord) with its
/// [`legacy_hash`](crate::key::KeyDetails::legacy_hash), and with at least the first four
/// characters of the key as its `start`. Only keys that the store does not know come here, and only
/// those whose first characters belong to such a record are hashed; all others are refused without
/// a hash and without a lookup, by an index in memory.
///
/// ```
/// use tower_api_key::{KeyManager, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = KeyManager::new(MemoryStore::new());
/// let legacy = manager.legacy_hashes();
/// legacy.refresh().await?; // At start, so that no request has to wait for it.
/// let layer = manager.layer().with_legacy_hashes(legacy);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
///
/// # Which keys
///
/// - The hash is one of the plain key. Systems that hash something else, such as the hexadecimal
///   SHA-256 of it, are not understood.
/// - 16 to 512 bytes of visible ASCII; of at most 72 bytes if the hash is bcrypt's, which reads no
///   more.
/// - No key may begin with the prefix of your own [`KeyFormat`](crate::KeyFormat): it would lack
///   the checksum, and be refused as malformed.
/// - The starts should tell keys apart. Where many share one, such as `sk_live_`, every unknown
///   key that begins like it pays for all of their hashes. Where more than
///   [16](LegacyHashesBuilder::with_max_candidates) share one, none of them is tried.
///
/// # Cost
///
/// Hashes are computed on tokio's threads for blocking work, a few at once, and a bounded number
/// of keys wait for their turn, fewer of them from one network; what is beyond that is
/// [`Overloaded`](crate::RejectionKind::Overloaded). Networks take turns. A hash that has not begun
/// is not computed once no request waits for it any more. A client that knows how a legacy key begins
/// can keep these threads busy, but no others. A wrong key is remembered for five minutes and not
/// hashed again. It takes longer to refuse than one that begins like no legacy key, which tells
/// a caller how legacy keys begin.
///
/// An index that cannot be read makes such requests
/// [`Unavailable`](crate::RejectionKind::Unavailable), never unknown. It is read anew every minute
/// while unknown keys come by, so a key that is imported on another node is known after that.
///
/// # When it is over
///
/// [`stats`](Self::stats) says how many keys are left. When this is taken away, keep accepting
/// keys of other systems, since `KeyManager::layer` alone accepts its own:
/// `manager.layer().with_formats([own_format, KeyFormat::opaque()])`.
#[derive(Clone)]
pub struct LegacyHashes(Arc<Inner>);

/// The counters of [`LegacyHashes`] since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegacyStats {
    /// Keys that were not used yet and can still be; 0 before the index is first read.
    pub left: usize,
    /// Slow hashes that were computed.
    pub verifications: u64,
    /// Keys whose digest was stored.
    pub upgrades: u64,
    /// Requests that were refused because too many keys were waiting.
    pub shed: u64,
}

struct Inner {
    repository: Arc<dyn KeyRepository>,
    settings: Settings,
    workers: Workers,
    /// The share that each network has of the threads: half of them.
    shares: KeyedSemaphore,
    index: RwLock<Option<Index>>,
    loading: Mutex<Loading>,
    /// Held while the index is read: a caller that asks for it then gets what was written before.
    turn: AsyncMutex<()>,
    calls: Calls,
    verifications: AtomicU64,
    upgrades: AtomicU64,
    shed: AtomicU64,
    apart: Apart<LegacyHashes>,
}

/// How long an index is trusted that should have been read anew.
const GRACE: Duration = Duration::from_mins(5);

impl LegacyHashes {
    /// Of the keys in `repository`, which should be what the layer looks keys up in: if that is a
    /// cache, it must learn of upgrades. [`KeyManager::legacy_hashes`] sees to it.
    ///
    /// [`KeyManager::legacy_hashes`]: crate::KeyManager::legacy_hashes
    pub fn new(repository: impl KeyRepository) -> Self {
        Self::builder(repository).build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    pub fn builder(repository: impl KeyRepository) -> LegacyHashesBuilder {
        LegacyHashesBuilder::new(Arc::new(repository))
    }

    fn with_settings(repository: Arc<dyn KeyRepository>, settings: Settings) -> Self {
        let share = Bounds {
            permits: (settings.max_at_once / 2).max(1),
            waiting_per_key: settings.max_waiting,
            waiting: settings.max_waiting,
        };
        Self(Arc::new(Inner {
            shares: KeyedSemaphore::new(share),
            workers: Workers::new(settings.max_at_once),
            repository,
            settings,
            index: RwLock::default(),
            loading: Mutex::default(),
            turn: AsyncMutex::default(),
            calls: Calls::default(),
            verifications: AtomicU64::new(0),
            upgrades: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            apart: Apart::default(),
        }))
    }

    /// Reads the index anew: at start, so that no request waits for it, and after an import, so
    /// that the new keys are known on this node at once.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.0.load().await
    }

    /// The counters until now.
    pub fn stats(&self) -> LegacyStats {
        let inner = &*self.0;
        LegacyStats {
            left: inner.with_index(|index| index.map_or(0, Index::len)),
            verifications: inner.verifications.load(Relaxed),
            upgrades: inner.upgrades.load(Relaxed),
            shed: inner.shed.load(Relaxed),
        }
    }

    /// The same, with threads and bounds of its own, that stores nothing.
    pub(crate) fn apart(&self) -> &Self {
        if !self.0.settings.stores {
            return self;
        }
        self.0.apart.get_or_make(|| {
            let settings = Settings { stores: false, ..self.0.settings.clone() };
            Self::with_settings(self.0.repository.clone(), settings)
        })
    }

    /// Whether an unknown key has to be [looked for](Self::verify). Never waits.
    pub(crate) fn may_hold(&self, digest: &KeyDigest, key: &str) -> bool {
        let inner = &*self.0;
        let now = inner.settings.clock.now();
        let known = inner.with_index(|index| {
            index.map(|index| (index.age(now), index.candidates(key).next().is_some()))
        });
        let Some((age, has_candidates)) = known.filter(|(age, _)| inner.is_usable(*age)) else {
            return true;
        };
        if age >= inner.settings.refresh_interval {
            // The one that there is will do. If this fails, the next unknown key tries again.
            drop(self.start_loading(now));
        }
        match inner.calls.lock().outcome(digest, now) {
            Some(Outcome::Refused) => false,
            // Also once it is no candidate any more: a cache may not know of it yet.
            Some(Outcome::Proven(_)) => true,
            None => has_candidates,
        }
    }
}

impl Inner {
    fn with_index<T>(&self, read: impl FnOnce(Option<&Index>) -> T) -> T {
        read(self.index.read().as_ref())
    }

    fn with_index_mut<T>(&self, change: impl FnOnce(&mut Option<Index>) -> T) -> T {
        change(&mut self.index.write())
    }

    fn is_usable(&self, age: Duration) -> bool {
        age < self.settings.refresh_interval.saturating_add(GRACE)
    }
}

impl fmt::Debug for LegacyHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyHashes").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
