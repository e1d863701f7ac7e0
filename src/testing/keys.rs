//! [`TestKeys`]: keys of every kind, and a layer that judges them.

use std::{fmt, future::IntoFuture, pin::Pin, time::Duration};

use crate::{
    auth::ApiKeyLayer,
    clock::{Clock, SettableClock, Timestamp},
    credits::Credits,
    key::{Limits, NewCredits, OwnerId, Scopes},
    limit::{LocalLimiter, RateLimits},
    manage::{IssuedKey, KeyManager, NewKey},
    store::{KeyRepository, MemoryStore},
};

/// A store, a clock and a manager for a test, which make keys and judge them.
///
/// The manager's layer enforces rate limits and credits, by the same clock. A clone shares everything.
///
/// ```
/// use std::time::Duration;
///
/// use http::{Request, Response, StatusCode};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_api_key::{
///     RejectionKind, RequireScopesLayer,
///     testing::{TestKeys, WithKey, assert_denied},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = TestKeys::new();
/// let application = ServiceBuilder::new()
///     .layer(keys.layer())
///     .layer(RequireScopesLayer::all(["orders:read"])?)
///     .service(service_fn(async |_: Request<String>| {
///         Ok::<_, std::convert::Infallible>(Response::new(String::new()))
///     }));
/// let orders = || Request::get("/orders").body(String::new());
///
/// let key = keys.with_scopes(["orders:read"]).await;
/// let response = application.clone().oneshot(orders()?.with_key(&key)).await?;
/// assert_eq!(response.status(), StatusCode::OK);
///
/// let key = keys.with_scopes(["orders:write"]).await;
/// let response = application.clone().oneshot(orders()?.with_key(&key)).await?;
/// assert_denied!(response, RejectionKind::InsufficientScope, ["orders:read"]);
///
/// let key = keys.with_owner("user-1").with_scopes(["orders:read"]).revoked().await;
/// let response = application.clone().oneshot(orders()?.with_key(&key)).await?;
/// assert_denied!(response, "revoked_key");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct TestKeys {
    manager: KeyManager,
    clock: SettableClock,
}

/// When tests take place, until they set another time: 2030-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_unix_millis(1_893_456_000_000);

impl TestKeys {
    /// Keys in a [`MemoryStore`]. The clock shows 2030-01-01T00:00:00Z.
    pub fn new() -> Self {
        let clock = SettableClock::new(START);
        Self::made(MemoryStore::new().with_clock(clock.clone()), clock)
    }

    /// Keys in a store of the test's own. The clock is the manager's, and not the store's.
    pub fn over(store: impl KeyRepository + Clone) -> Self {
        Self::made(store, SettableClock::new(START))
    }

    fn made(store: impl KeyRepository + Clone, clock: SettableClock) -> Self {
        let limiter = LocalLimiter::builder().with_clock(clock.clone()).build();
        let mut manager = KeyManager::new(store.clone())
            .with_clock(clock.clone())
            .with_rate_limits(RateLimits::new(limiter));
        // A store that keeps no balances has no key with credits either.
        if let Ok(credits) = Credits::builder(store).with_clock(clock.clone()).build() {
            manager = manager.with_credits(credits);
        }
        Self { manager, clock }
    }

    /// Changes the manager: the format of its keys, its hasher, its limits.
    ///
    /// ```
    /// use tower_api_key::{KeyFormat, testing::TestKeys};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_api_key::ConfigError> {
    /// let format = KeyFormat::new("acme_test")?;
    /// let keys = TestKeys::new().with_manager(|manager| manager.with_format(format));
    /// assert!(keys.any().await.secret.expose().starts_with("acme_test_"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_manager(mut self, change: impl FnOnce(KeyManager) -> KeyManager) -> Self {
        self.manager = change(self.manager);
        self
    }

    /// The manager, for management routes and for what changes keys during a test.
    pub fn manager(&self) -> &KeyManager {
        &self.manager
    }

    /// The clock of the manager and of every layer.
    pub fn clock(&self) -> &SettableClock {
        &self.clock
    }

    /// The [manager's layer](KeyManager::layer).
    pub fn layer(&self) -> ApiKeyLayer {
        self.manager.layer()
    }

    /// A key without scopes and without an owner, which is good for ever.
    pub fn any(&self) -> TestKey {
        self.with(NewKey::named("key of a test"))
    }

    /// A key with these scopes.
    ///
    /// # Panics
    ///
    /// If one is not a scope.
    pub fn with_scopes<T: AsRef<str>>(&self, scopes: impl IntoIterator<Item = T>) -> TestKey {
        self.any().with_scopes(scopes)
    }

    /// A key of this owner.
    pub fn with_owner(&self, owner: impl Into<OwnerId>) -> TestKey {
        self.any().with_owner(owner)
    }

    /// A key with these fields.
    pub fn with(&self, new: NewKey) -> TestKey {
        TestKey { keys: self.clone(), new, end: None }
    }

    /// A key of the manager's format that no store knows.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness, or the store fails.
    pub async fn unknown(&self) -> IssuedKey {
        let key = self.any().await;
        // A deleted key is not found.
        must(self.manager.delete(key.record.id).await);
        key
    }
}

impl Default for TestKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKeys").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// A key that [`TestKeys`] are about to make: `.await` makes it.
///
/// To await one panics if the store fails or refuses the key: a test cannot go on then.
///
/// ```
/// use tower_api_key::{
///     limit::{Limit, Limits, Quota},
///     nonzero,
///     testing::TestKeys,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_api_key::ConfigError> {
/// let limits = Limits::new([Limit::new("minute", Quota::per_minute(nonzero!(2)))?])?;
/// let key = TestKeys::new().with_owner("user-1").with_limits(limits).with_credits(10).await;
/// assert_eq!(key.balance.unwrap().remaining, 10);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a key is made when it is awaited"]
pub struct TestKey {
    keys: TestKeys,
    new: NewKey,
    end: Option<End>,
}

/// What becomes of a key once it is made.
#[derive(Clone, Copy, Debug)]
enum End {
    Disabled,
    Expired,
    Revoked,
}

impl TestKey {
    /// With these scopes, in place of those that it had.
    ///
    /// # Panics
    ///
    /// If one is not a scope.
    pub fn with_scopes<T: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.new.scopes = must(Scopes::parse(scopes));
        self
    }

    /// Of this owner.
    pub fn with_owner(mut self, owner: impl Into<OwnerId>) -> Self {
        self.new.owner = Some(owner.into());
        self
    }

    /// With rate limits of its own.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.new.limits = limits;
        self
    }

    /// With so many credits, which do not come back.
    pub fn with_credits(mut self, remaining: u64) -> Self {
        self.new.credits = Some(NewCredits { remaining, refill: None });
        self
    }

    /// Switched off.
    pub fn disabled(mut self) -> Self {
        self.end = Some(End::Disabled);
        self
    }

    /// At its end, by the clock's time. To set the clock back makes it good.
    pub fn expired(mut self) -> Self {
        self.end = Some(End::Expired);
        self
    }

    /// Withdrawn for good.
    pub fn revoked(mut self) -> Self {
        self.end = Some(End::Revoked);
        self
    }

    /// Not valid before this moment.
    pub fn valid_from(mut self, moment: Timestamp) -> Self {
        self.new.not_before = Some(moment);
        self
    }

    async fn make(self) -> IssuedKey {
        let Self { keys: TestKeys { manager, clock }, mut new, end } = self;
        let mut maker = manager.clone();
        if let Some(End::Expired) = end {
            // It was made an hour ago: no end is in the past when a key is made.
            let now = clock.now();
            new.expires_at = Some(now);
            maker =
                maker.with_clock(SettableClock::new(now.saturating_sub(Duration::from_hours(1))));
        }
        let mut key = must(maker.create(new).await);
        let id = key.record.id;
        match end {
            Some(End::Disabled) => key.record = must(manager.disable(id).await),
            Some(End::Revoked) => key.record = must(manager.revoke(id, None).await),
            Some(End::Expired) | None => {}
        }
        key
    }
}

impl IntoFuture for TestKey {
    type Output = IssuedKey;
    type IntoFuture = Pin<Box<dyn Future<Output = IssuedKey> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

/// What a test cannot go on without.
#[track_caller]
fn must<T, E: fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("a key for a test: {error}"))
}
