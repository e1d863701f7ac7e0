//! [`CachedOwners`]: a bounded cache in front of a resolver.

mod settings;

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

pub use self::settings::CachedOwnersBuilder;
use super::{Owner, error::OwnerError, resolver::OwnerResolver};
use crate::{
    error::BackEnd,
    key::OwnerId,
    observe,
    runtime::async_methods,
    store::{
        CacheStats, Lookup,
        cache::{Answer, Cache, CacheKey, Claim, Failure, Settings},
    },
};

/// A bounded cache in front of an [`OwnerResolver`].
///
/// - **A hit never waits**, and allocates nothing.
/// - **Concurrent misses of one owner are one call**, which goes on when a caller goes away. A
///   panic in the resolver is an error for the callers that wait.
/// - **Owners who are unknown or not active are remembered too**, for a shorter time.
/// - **Owners in use are resolved again before their time is up**, in the background.
/// - **When the resolver fails, known owners go on** for a while; others are told to try again.
///
/// # What is guaranteed
///
/// An owner who is no longer active is refused
///
/// - on this node at once, if [`forget`](Self::forget) is called after the change;
/// - else within the [time to live](CachedOwnersBuilder::with_ttl);
/// - if the resolver fails as well, or takes longer than the
///   [soft timeout](CachedOwnersBuilder::with_soft_timeout), within
///   [`stale_if_error`](CachedOwnersBuilder::with_stale_if_error) after that.
///
/// # Use
///
/// Clones share the same cache. Lookups need a tokio runtime with time enabled.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{OwnerId, OwnerLayer, owner::CachedOwners};
///
/// async fn find_user(id: OwnerId) -> Result<Option<String>, std::io::Error> {
///     Ok(Some(format!("user {id}")))
/// }
///
/// let owners = CachedOwners::builder(find_user).with_ttl(Duration::from_secs(10)).build();
/// let layer = OwnerLayer::new(owners.clone());
/// // Wherever a user is changed:
/// owners.forget(&OwnerId::from("user-1"));
/// # let _ = layer;
/// ```
pub struct CachedOwners<R: OwnerResolver> {
    inner: Arc<Inner<R>>,
}

struct Inner<R: OwnerResolver> {
    resolver: Arc<R>,
    cache: Arc<Cache<OwnerKey, Owner<R::Owner>, OwnerError>>,
    hasher: RandomState,
}

/// An id with its hash, which is needed several times on the way.
#[derive(Clone, PartialEq, Eq)]
struct OwnerKey {
    hash: u64,
    id: OwnerId,
}

impl Hash for OwnerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl CacheKey for OwnerKey {
    const MOVES: bool = false;

    fn jitter(&self) -> u8 {
        self.hash.to_ne_bytes()[0]
    }
}

impl Failure for OwnerError {
    const BACK_END: BackEnd = BackEnd::OwnerResolver;

    fn timeout() -> Self {
        Self::timeout()
    }

    fn overloaded() -> Self {
        Self::from_resolver("too many owners are being resolved")
    }

    fn given_up(reason: &'static str) -> Self {
        Self::from_resolver(reason)
    }

    /// Only the resolver knows why it fails: what it says of one owner may not be so for others.
    fn is_outage(&self) -> bool {
        self.is_timeout()
    }

    fn contradicts_memory(&self) -> bool {
        false
    }

    fn report(&self) {
        observe::owner_lookup_failed(self);
    }
}

#[cfg(feature = "metrics")]
impl<R: OwnerResolver> observe::FigureSource for Inner<R> {
    fn tell(&self, told: &mut observe::Told) {
        told.cache("owners", &self.cache.stats().figures());
    }
}

impl<R: OwnerResolver> CachedOwners<R> {
    /// A cache with room for 100,000 owners, in front of `resolver`. An owner that was found lives
    /// 30 seconds, one that was not 5; known owners go on for 5 minutes when the resolver fails.
    pub fn new(resolver: R) -> Self {
        Self::builder(resolver).build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    pub fn builder(resolver: R) -> CachedOwnersBuilder<R> {
        CachedOwnersBuilder::new(resolver)
    }

    fn with_settings(resolver: R, settings: Settings) -> Self {
        let (resolver, cache) = (Arc::new(resolver), Arc::new(Cache::new(settings)));
        let inner = Arc::new(Inner { resolver, cache, hasher: RandomState::new() });
        #[cfg(feature = "metrics")]
        observe::register(&inner);
        Self { inner }
    }

    /// Forgets what is known about an owner: the next request with one of their keys asks the
    /// resolver, also when one is being asked already.
    pub fn forget(&self, id: &OwnerId) {
        self.inner.cache.forget(&self.key(id));
    }

    /// Forgets every owner.
    pub fn clear(&self) {
        self.inner.cache.clear();
    }

    /// The counters of the cache so far.
    pub fn stats(&self) -> CacheStats {
        self.inner.cache.stats()
    }

    fn key(&self, id: &OwnerId) -> OwnerKey {
        OwnerKey { hash: self.inner.hasher.hash_one(id), id: id.clone() }
    }

    /// A call of the resolver.
    fn ask(
        &self,
        id: &OwnerId,
    ) -> impl Future<Output = Answer<Owner<R::Owner>, OwnerError>> + Send + use<R> {
        let (resolver, id) = (self.inner.resolver.clone(), id.clone());
        async move { resolver.resolve(&id).await.map_err(OwnerError::from_resolver) }
    }
}

impl<R: OwnerResolver> OwnerResolver for CachedOwners<R> {
    type Owner = R::Owner;
    type Error = OwnerError;

    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<R::Owner>>> {
        // What the resolver can say at once needs no cache.
        if let Some(lookup) = self.inner.resolver.resolve_now(id) {
            return Some(lookup);
        }
        self.inner.cache.find_now(&self.key(id), || self.ask(id))
    }

    async_methods! {
        async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<R::Owner>>, OwnerError> {
            match self.resolve_now(id) {
                Some(Lookup::Found(owner)) => Ok(Some(owner)),
                Some(Lookup::NotFound) => Ok(None),
                None => {
                    let claim = Claim::default;
                    self.inner.cache.look_up(&self.key(id), claim, || self.ask(id)).await
                }
            }
        }
    }
}

impl<R: OwnerResolver> Clone for CachedOwners<R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<R: OwnerResolver> fmt::Debug for CachedOwners<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedOwners")
            .field("settings", self.inner.cache.settings())
            .finish_non_exhaustive()
    }
}
