//! [`KeyManager`]: issuing keys and looking after them. The other items are those that its methods take
//! and return.

mod access;
mod acts;
mod bounds;
mod change;
mod create;
mod credits;
mod descendants;
mod end;
mod error;
mod import;
mod issued_before;
mod lineage;
mod once;
mod restore;
mod rotate;
mod sets;
mod top_up;
mod update;
mod usage;
mod view;

use std::{fmt, sync::Arc};

pub use self::view::KeyView;
use self::{
    access::{Access, OwnerFilter},
    acts::OwnerActs,
};
pub use self::{
    bounds::OwnerBounds,
    create::{IssuedKey, NewKey},
    error::ManageError,
    import::{ImportKey, ImportReport},
    restore::RestoreKey,
    rotate::{RotateKey, RotationGrace},
    sets::{KeySet, SetReport},
    top_up::{Deducted, Deduction, TopUp},
    update::KeyPatch,
};
use crate::{
    auth::ApiKeyLayer,
    clock::{Clock, MonotonicClock, SystemClock},
    credits::Credits,
    error::{ConfigError, StoreError},
    key::{
        EventHook, EventPage, EventQuery, InvalidField, KeyEvent, KeyFormat, KeyHasher, KeyId,
        KeyRecord, OwnerId,
    },
    limit::RateLimits,
    observe,
    store::{Announced, Invalidations, KeyPage, KeyQuery, KeyRepository, WriteBack},
    usage::UsageRecorder,
};

/// Issues keys and looks after them.
///
/// A clone shares the same repository. Handles that may do less, or that name the actor, are
/// made with [`for_owner`](Self::for_owner), [`within_bounds`](Self::within_bounds),
/// [`within_scopes`](Self::within_scopes), [`acting_as`](Self::acting_as) and [`from_address`](Self::from_address).
///
/// ```
/// use tower_api_key::{KeyFormat, KeyManager, NewKey, Scopes, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = KeyManager::new(MemoryStore::new()).with_format(KeyFormat::new("acme")?);
///
/// let issued = manager
///     .create(NewKey {
///         owner: Some("user-1".into()),
///         scopes: Scopes::parse(["orders:read"])?,
///         ..NewKey::named("CI of the shop")
///     })
///     .await?;
/// // The only time that the key is shown.
/// println!("{}", issued.secret.expose());
///
/// manager.revoke(issued.record.id, Some("laptop stolen")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct KeyManager {
    repository: Arc<dyn KeyRepository>,
    format: KeyFormat,
    hasher: KeyHasher,
    clock: Arc<dyn Clock>,
    access: Access,
    acts: OwnerActs,
    max_keys_per_owner: u32,
    rate_limits: Option<RateLimits>,
    credits: Option<Credits>,
    usage: Option<UsageRecorder>,
    hook: Option<EventHook>,
}

/// Short, so that a key fits one SHA-256 block; see [`KeyFormat`].
const DEFAULT_PREFIX: &str = "key";

const MAX_KEYS_PER_OWNER: u32 = 25;

/// The most keys or events that a page has.
const MAX_PAGE: usize = 1000;

impl KeyManager {
    /// A manager of the keys in `repository`. It issues keys `key_…` and stores their SHA-256.
    pub fn new(repository: impl KeyRepository) -> Self {
        Self {
            repository: Arc::new(repository),
            format: KeyFormat::new(DEFAULT_PREFIX).unwrap_or(KeyFormat::opaque()),
            hasher: KeyHasher::default(),
            clock: Arc::new(SystemClock),
            access: Access::default(),
            acts: OwnerActs::new(MonotonicClock::new()),
            max_keys_per_owner: MAX_KEYS_PER_OWNER,
            rate_limits: None,
            credits: None,
            usage: None,
            hook: None,
        }
    }

    /// Issues keys of this format, and accepts them in the [`layer`](Self::layer). A
    /// [sealed](KeyFormat::sealed) one seals them under its current issuer secret.
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    /// Stores digests made this way.
    pub fn with_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hasher = hasher;
        self
    }

    /// Announces every change, so that caches on other nodes forget the key at once.
    pub fn with_invalidations(mut self, invalidations: impl Invalidations) -> Self {
        self.repository = Arc::new(Announced::new(self.repository, Arc::new(invalidations)));
        self
    }

    /// How many [live](KeyRecord::is_live) keys an owner may have who creates one within
    /// [bounds](Self::within_bounds); 25 unless this says otherwise. More are
    /// [`TooManyKeys`](ManageError::TooManyKeys).
    ///
    /// All keys of the owner count, and are counted in the write that adds one. Administrators, the
    /// application's own hand and imports add as many as they like, and a key that takes the place
    /// of another makes no more; but keys that live on through their grace are at most as many
    /// again in each lineage.
    ///
    /// A store that [cannot count](KeyRepository::bounds_owners) is a
    /// [`StoreCapability`](ConfigError::StoreCapability) error. Without this setting, a manager of
    /// such a store creates no keys within bounds: each attempt is `Unsupported`.
    pub fn with_max_keys_per_owner(mut self, keys: u32) -> Result<Self, ConfigError> {
        if !self.repository.bounds_owners() {
            return Err(ConfigError::StoreCapability {
                setting: "KeyManager::with_max_keys_per_owner",
                lacks: "does not count the keys of an owner (`bounds_owners`)",
                remedy: "leave the setting out, or use a store that counts them",
            });
        }
        self.max_keys_per_owner = keys;
        Ok(self)
    }

    /// Limits how many requests keys may make, in the [`layer`](Self::layer).
    pub fn with_rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = Some(limits);
        self
    }

    /// Spends the credits of keys, in the [`layer`](Self::layer), and knows what is left of them on
    /// this node.
    pub fn with_credits(mut self, credits: Credits) -> Self {
        self.credits = Some(credits);
        self
    }

    /// Counts the uses of keys, in the [`layer`](Self::layer). What this node has counted is
    /// written before usage is read.
    pub fn with_usage(mut self, usage: UsageRecorder) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Reads the time from this clock. By it, the acts of owners are counted anew. Keys are created by the
    /// clock of the repository, where it [tells the time](crate::store::BalanceStore::balances).
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self.acts = OwnerActs::new(self.clock.clone());
        self
    }

    /// Calls `hook` after every change, and from the [`layer`](Self::layer) on every denial. It
    /// must not block.
    ///
    /// It hears of changes that are known to be done. One whose caller went away in the middle of
    /// it, or that failed without saying how far it came, is told by the [audit log](Self::events)
    /// alone, if it was written.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, store::MemoryStore};
    ///
    /// let manager = KeyManager::new(MemoryStore::new()).with_event_hook(|event| {
    ///     println!("{} {:?} by {:?}", event.action, event.key, event.actor);
    /// });
    /// # let _ = manager;
    /// ```
    pub fn with_event_hook(mut self, hook: impl Fn(&KeyEvent) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// A layer that lets in the keys of this manager: it reads the same repository and knows the
    /// same format, hasher, clock, limits, credits and usage.
    ///
    /// Keys found under a retired pepper are stored anew under the
    /// current one, and the first use of a key ends the wait of those that it replaces.
    pub fn layer(&self) -> ApiKeyLayer {
        let mut layer = ApiKeyLayer::over(self.repository.clone())
            .with_formats([self.format.clone()])
            .with_hasher(self.hasher.clone())
            .with_clock(self.clock.clone())
            .with_write_back(WriteBack::new(self.repository.clone()))
            .set_event_hook(self.hook.clone());
        if let Some(limits) = &self.rate_limits {
            layer = layer.with_rate_limits(limits.clone());
        }
        if let Some(credits) = &self.credits {
            layer = layer.with_credits(credits.clone());
        }
        if let Some(usage) = &self.usage {
            layer = layer.with_usage(usage.clone());
        }
        layer
    }

    /// Shuts down everything that the manager was given, before the program ends: after the last
    /// request and the last change.
    ///
    /// In this order: [rate limits](Self::with_rate_limits) give their leases back,
    /// [credits](Self::with_credits) what this node holds, and [usage](Self::with_usage) is
    /// written; then the repository [closes](KeyRepository::close). Every step is taken, whatever
    /// became of those before it. The first error is returned, another one is logged; what was not
    /// written is lost.
    ///
    /// Clones and handles share what is closed. A write takes as long as the store does: give the
    /// shutdown a time limit.
    pub async fn close(&self) -> Result<(), StoreError> {
        if let Some(limits) = &self.rate_limits {
            limits.close().await;
        }
        let credits = match &self.credits {
            Some(credits) => credits.close().await,
            None => Ok(()),
        };
        let usage = match &self.usage {
            Some(usage) => usage.flush().await,
            None => Ok(()),
        };
        self.repository.close().await;
        if let (Err(_), Err(error)) = (&credits, &usage) {
            observe::uses_lost(error);
        }
        credits.and(usage)
    }

    /// The time by this manager's clock.
    #[cfg(feature = "axum")]
    pub(crate) fn now(&self) -> crate::clock::Timestamp {
        self.clock.now()
    }

    /// The keys in the manager's repository that another system stored as slow hashes, for
    /// [`ApiKeyLayer::with_legacy_hashes`]. Each has an index of its own: give clones of one to
    /// several layers.
    #[cfg(feature = "legacy-hashes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "legacy-hashes")))]
    pub fn legacy_hashes(&self) -> crate::legacy::LegacyHashes {
        self.legacy_hashes_builder().build()
    }

    /// Like [`legacy_hashes`](Self::legacy_hashes), with other settings than the defaults.
    #[cfg(feature = "legacy-hashes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "legacy-hashes")))]
    pub fn legacy_hashes_builder(&self) -> crate::legacy::LegacyHashesBuilder {
        crate::legacy::LegacyHashesBuilder::new(self.repository.clone())
            .with_clock(self.clock.clone())
    }

    /// The key with this id.
    pub async fn get(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        let record = self.get_or_deleted(id).await?;
        if record.is_deleted() { Err(ManageError::NotFound) } else { Ok(record) }
    }

    /// The same, until a deleted key is purged.
    async fn get_or_deleted(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        let record = self.repository.get(id).await?;
        record.filter(|record| self.access.sees(record)).ok_or(ManageError::NotFound)
    }

    /// A page of keys, the youngest first. The limit is 1 to 1000.
    pub async fn list(&self, query: &KeyQuery) -> Result<KeyPage, ManageError> {
        check_limit(query.limit)?;
        let mut query = query.clone();
        query.owner = match self.access.owner_filter(query.owner.as_ref()) {
            OwnerFilter::Any => None,
            OwnerFilter::Only(owner) => Some(owner.clone()),
            OwnerFilter::None => return Ok(KeyPage::from_one_more(Vec::new(), query.limit)),
        };
        if holds_nul(query.owner.as_ref().map(OwnerId::as_str))
            || holds_nul(query.prefix.as_deref())
        {
            return Ok(KeyPage::from_one_more(Vec::new(), query.limit));
        }
        Ok(self.repository.list(&query).await?)
    }

    /// A page of the audit log, the latest event first. The limit is 1 to 1000. A repository
    /// without an [`audit_log`](KeyRepository::audit_log) is a [`Store`](ManageError::Store) error of kind
    /// [`Unsupported`](crate::store::StoreErrorKind::Unsupported).
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, ManageError> {
        check_limit(query.limit)?;
        let mut query = query.clone();
        query.owner = match self.access.owner_filter(query.owner.as_ref()) {
            OwnerFilter::Any => None,
            OwnerFilter::Only(owner) => Some(owner.clone()),
            OwnerFilter::None => return Ok(EventPage::from_one_more(Vec::new(), query.limit)),
        };
        if holds_nul(query.owner.as_ref().map(OwnerId::as_str)) {
            return Ok(EventPage::from_one_more(Vec::new(), query.limit));
        }
        let log = self.repository.audit_log().ok_or_else(StoreError::unsupported)?;
        Ok(log.events(&query).await?)
    }
}

fn check_limit(limit: usize) -> Result<(), InvalidField> {
    InvalidField::unless((1..=MAX_PAGE).contains(&limit), "limit", "must be from 1 to 1000")
}

/// No text of a key holds it, and some databases take such a question for their own trouble.
fn holds_nul(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.contains('\0'))
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager")
            .field("format", &self.format)
            .field("hasher", &self.hasher)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
