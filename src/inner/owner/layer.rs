//! [`OwnerLayer`]: the configuration.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    Owner,
    check::{OwnerCheck, ResolveOwner},
    error::OwnerError,
    resolver::OwnerResolver,
};
use crate::{
    auth::{
        WaitingLimit,
        attached::LayerId,
        revocation::{OwnerJudge, register_owner_layer},
    },
    key::OwnerId,
    observe,
    runtime::async_methods,
    store::Lookup,
};

/// Resolves the owner of the caller's key, gives it to the inner service as [`Owner<T>`], and denies keys without an active owner as
/// [`InactiveOwner`](crate::RejectionKind::InactiveOwner). When the [`OwnerResolver`] cannot tell,
/// the answer is 503.
///
/// Goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer), which identifies the caller. Without
/// one outside, every request is answered 500 and told so. A request that the outer layer let in
/// without an identity is denied as `Missing`, unless [allowed](Self::allow_anonymous). Only a CORS
/// preflight that the outer layer [let in](crate::ApiKeyLayer::pass_cors_preflights) goes on.
///
/// The resolver is asked on every request. `CachedOwners` (feature `cache`) keeps what it said, as
/// `CachedStore` does with keys.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_api_key::{ApiKeyLayer, Owner, OwnerId, OwnerLayer, store::MemoryStore};
///
/// struct User {
///     name: String,
/// }
///
/// /// In a real service: a query for an active user.
/// async fn find_user(id: OwnerId) -> Result<Option<User>, std::io::Error> {
///     Ok((id.as_str() == "user-1").then(|| User { name: "Ada".into() }))
/// }
///
/// async fn hello(user: Owner<User>) -> String {
///     format!("Hello, {}!", user.name)
/// }
///
/// # #[cfg(feature = "axum")]
/// let app: Router = Router::new()
///     .route("/hello", get(hello))
///     .layer(OwnerLayer::new(find_user))
///     // Outermost, so it runs first.
///     .layer(ApiKeyLayer::new(MemoryStore::new()));
/// ```
#[must_use]
pub struct OwnerLayer<T> {
    check: Arc<OwnerCheck<T>>,
}

/// The settings that a layer and its services share.
pub(super) struct Config<T> {
    pub(super) resolver: Arc<dyn AnyResolver<T>>,
    pub(super) lookup_timeout: Duration,
    pub(super) is_active: Option<ActiveCheck<T>>,
    pub(super) allow_anonymous: bool,
    pub(super) waiting: WaitingLimit,
}

type ActiveCheck<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

/// As for keys: enough for a database that is busy.
const DEFAULT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

const A_DAY: Duration = Duration::from_hours(24);

impl<T: Send + Sync + 'static> OwnerLayer<T> {
    /// A layer that asks `resolver`.
    pub fn new(resolver: impl OwnerResolver<Owner = T>) -> Self {
        let config = Config {
            resolver: Arc::new(resolver),
            lookup_timeout: DEFAULT_LOOKUP_TIMEOUT,
            is_active: None,
            allow_anonymous: false,
            waiting: WaitingLimit::new(),
        };
        Self::build(config)
    }

    fn build(config: Config<T>) -> Self {
        Self { check: Arc::new(OwnerCheck { config, id: LayerId::next() }) }
    }

    fn with(self, change: impl FnOnce(&mut Config<T>)) -> Self {
        let mut config = self.check.config.clone();
        change(&mut config);
        Self::build(config)
    }

    /// Waits this long for the resolver, 5 seconds by default and at most a day, then answers 503.
    ///
    /// The wait uses tokio's timer, so a resolver that has to be waited for needs a tokio runtime
    /// with time enabled.
    pub fn with_lookup_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.lookup_timeout = timeout.min(A_DAY))
    }

    /// Bounds how many requests may wait, by default 10,000 and 64 MiB: further ones that would
    /// have to are denied at once as [`Overloaded`](crate::RejectionKind::Overloaded).
    pub fn with_waiting_limit(self, limit: WaitingLimit) -> Self {
        self.with(|config| config.waiting = limit)
    }

    /// Refuses owners for whom this is false, as if the resolver had not found them. Asked on every
    /// request, also for what is cached: right for what depends on the time.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use tower_api_key::{OwnerId, OwnerLayer};
    ///
    /// struct Account {
    ///     paid_until: SystemTime,
    /// }
    ///
    /// async fn account(_: OwnerId) -> Result<Option<Account>, std::io::Error> {
    ///     Ok(Some(Account { paid_until: SystemTime::UNIX_EPOCH }))
    /// }
    ///
    /// let layer = OwnerLayer::new(account)
    ///     .with_active_check(|account: &Account| SystemTime::now() < account.paid_until);
    /// # let _ = layer;
    /// ```
    pub fn with_active_check(self, is_active: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.with(|config| config.is_active = Some(Arc::new(is_active)))
    }

    /// Lets requests on, without an owner, that the outer layer let in without an identity: those
    /// that its bypass matches, and anonymous callers where it allows them. A key without an active
    /// owner is refused all the same.
    pub fn allow_anonymous(self) -> Self {
        self.with(|config| config.allow_anonymous = true)
    }
}

impl<S, T: Send + Sync + 'static> Layer<S> for OwnerLayer<T> {
    type Service = ResolveOwner<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        let check: Arc<dyn OwnerJudge> = self.check.clone();
        register_owner_layer(self.check.id, Arc::downgrade(&check));
        ResolveOwner::new(inner, self.check.clone())
    }
}

/// An [`OwnerResolver`] of any type, so that the layer's type is known by what an owner is alone.
pub(super) trait AnyResolver<T>: Send + Sync {
    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<T>>>;

    async_methods! {
        async fn resolve(&self, id: &OwnerId) -> Answer<T>;
    }
}

pub(super) type Answer<T> = Result<Option<Owner<T>>, OwnerError>;

impl<R: OwnerResolver> AnyResolver<R::Owner> for R {
    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<R::Owner>>> {
        OwnerResolver::resolve_now(self, id)
    }

    async_methods! {
        async fn resolve(&self, id: &OwnerId) -> Answer<R::Owner> {
            OwnerResolver::resolve(self, id).await.map_err(OwnerError::from_resolver)
        }
    }
}

impl<T: Send + Sync + 'static> Config<T> {
    pub(super) fn is_active(&self, owner: &T) -> bool {
        self.is_active.as_ref().is_none_or(|is_active| is_active(owner))
    }

    pub(super) fn resolve(&self, id: OwnerId) -> impl Future<Output = Answer<T>> + Send + use<T> {
        let (resolver, time) = (self.resolver.clone(), self.lookup_timeout);
        async move {
            let answer = tokio::time::timeout(time, resolver.resolve(&id)).await;
            let answer = answer.unwrap_or_else(|_| Err(OwnerError::timeout()));
            answer.inspect_err(|_| observe::owner_not_resolved())
        }
    }
}

impl<T> Clone for Config<T> {
    fn clone(&self) -> Self {
        Self {
            resolver: self.resolver.clone(),
            is_active: self.is_active.clone(),
            waiting: self.waiting.clone(),
            ..*self
        }
    }
}

impl<T> Clone for OwnerLayer<T> {
    fn clone(&self) -> Self {
        Self { check: self.check.clone() }
    }
}

impl<T> fmt::Debug for OwnerLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerLayer")
            .field("lookup_timeout", &self.check.config.lookup_timeout)
            .field("active_check", &self.check.config.is_active.is_some())
            .field("allow_anonymous", &self.check.config.allow_anonymous)
            .finish_non_exhaustive()
    }
}
