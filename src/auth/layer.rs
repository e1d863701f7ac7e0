//! [`ApiKeyLayer`]: the configuration.

#[cfg(feature = "axum")]
use std::net::IpAddr;
use std::{
    cmp::Reverse,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::HeaderValue;
use tower_layer::Layer;

use super::{
    attached::LayerId,
    cache_policy::vary_on,
    challenge::challenges,
    config::Config,
    counted::OuterLayer,
    extract::{KeySource, Precedence},
    preflights::PassPreflightsLayer,
    resource_metadata::ResourceMetadataUrl,
    revocation::register,
    service::ApiKeyAuth,
    shared_config::SharedConfig,
    waiting_limit::WaitingLimit,
};
use crate::{
    clock::{Clock, SystemClock},
    credits::Credits,
    error::ConfigError,
    key::{EventHook, KeyEvent, KeyFormat, KeyHasher, Needs},
    limit::RateLimits,
    rejection::{GrpcDenials, RejectionResponse, Renderer},
    request::{ClientAddress, RequestHead},
    store::{KeyStore, WriteBack},
    throttle::FailureThrottle,
    usage::UsageRecorder,
};

/// Lets in requests that carry a good API key, with its identity in their extensions, and denies
/// the others with the precise reason.
///
/// A new layer is safe and lenient: it looks in `X-API-Key` and in `Authorization: Bearer`, takes
/// any visible ASCII of 16 to 512 bytes for a key, and looks up its SHA-256. Tables of
/// `sha256(key)` that other systems made work as they are. The `with_…` methods change that.
///
/// [`KeyManager::layer`](crate::KeyManager::layer) makes a layer that also knows the format and
/// the peppers of the keys that the manager issues.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, KeySource, store::FixedStore};
///
/// # temp_env(|| {
/// let admin_only = ApiKeyLayer::new(FixedStore::from_env("ADMIN_API_KEY")?)
///     .with_sources([KeySource::header("x-admin-key")?]);
/// # let _ = admin_only;
/// # Ok(()) });
/// # fn temp_env(f: impl Fn() -> Result<(), tower_api_key::ConfigError>) { let _ = f(); }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ApiKeyLayer {
    config: Arc<Config>,
    /// What all services of the layer share, once there is one.
    shared: OnceLock<SharedConfig>,
}

/// Enough for a database that is busy, and short enough that callers do not pile up.
const DEFAULT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

const A_DAY: Duration = Duration::from_hours(24);

impl ApiKeyLayer {
    /// A layer over `store` with the defaults described above.
    pub fn new(store: impl KeyStore) -> Self {
        Self::over(Arc::new(store))
    }

    pub(crate) fn over(store: Arc<dyn KeyStore>) -> Self {
        let config = Config {
            id: LayerId::next(),
            store,
            sources: vec![KeySource::x_api_key(), KeySource::bearer()],
            precedence: Precedence::default(),
            has_plain_sources: false,
            reads_path: false,
            reads_websocket: false,
            formats: vec![KeyFormat::opaque()],
            hasher: KeyHasher::default(),
            clock: Arc::new(SystemClock),
            lookup_timeout: DEFAULT_LOOKUP_TIMEOUT,
            waiting: WaitingLimit::new(),
            bypass: None,
            secure_transport: None,
            client_address: None,
            allow_anonymous: false,
            hide_credentials: false,
            write_back: None,
            events: None,
            #[cfg(feature = "legacy-hashes")]
            legacy: None,
            throttle: None,
            rate_limits: None,
            credits: None,
            enforced: Needs::NONE,
            usage: None,
            tells_access: false,
            cache_headers: true,
            vary: None,
            renderer: Renderer::default(),
            realm: "api".into(),
            resource_metadata: None,
            foreign_challenges: Vec::new(),
            outer: OuterLayer::default(),
            pauses: false,
            has_step_10: false,
        };
        Self { config: Arc::new(config), shared: OnceLock::new() }.with_derived()
    }

    /// Another layer, so with another id.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        let config = Arc::make_mut(&mut self.config);
        change(config);
        config.derive();
        config.id = LayerId::next();
        self.shared = OnceLock::new();
        self
    }

    /// Recomputes what follows from the sources, their precedence and the realm.
    fn with_derived(self) -> Self {
        self.with(|config| {
            let metadata = config.resource_metadata.as_ref();
            let challenges = challenges(&config.realm, metadata, &config.sources);
            config.renderer.set_challenges(challenges.with_foreign(&config.foreign_challenges));
            config.vary = vary_on(&config.sources);
            config.reads_path = config.sources.iter().any(KeySource::is_path);
            config.reads_websocket = config.sources.iter().any(KeySource::is_websocket);
            config.has_plain_sources = config.sources.iter().all(KeySource::is_plain);
        })
    }

    /// Looks for keys in these places and no others. Without any, every request is `Missing`.
    pub fn with_sources(self, sources: impl IntoIterator<Item = KeySource>) -> Self {
        let none = self.with(|config| config.sources.clear()).with_derived();
        sources.into_iter().fold(none, Self::with_source)
    }

    /// Looks for keys in one more place. One that is there already stays where it is: looked
    /// into twice, it would hold every key twice.
    pub fn with_source(self, source: KeySource) -> Self {
        self.with(|config| {
            if !config.sources.contains(&source) {
                config.sources.push(source);
            }
        })
        .with_derived()
    }

    /// Says what happens when a request holds several credentials. By default it is refused.
    pub fn with_precedence(self, precedence: Precedence) -> Self {
        self.with(|config| config.precedence = precedence).with_derived()
    }

    /// Accepts keys of these formats and no others; without any, none.
    ///
    /// Say which keys you issue, and most noise is refused without hashing or a lookup; with
    /// [sealed](KeyFormat::sealed) keys alone, all of it.
    ///
    /// The format with the longest prefix that a key begins with decides alone; of several with one
    /// prefix, the first.
    pub fn with_formats(self, formats: impl IntoIterator<Item = KeyFormat>) -> Self {
        let mut formats: Vec<_> = formats.into_iter().collect();
        // `acme_live_…` begins with `acme_` too.
        formats.sort_by_key(|format| Reverse(format.prefix().len()));
        self.with(|config| config.formats = formats)
    }

    /// Looks keys up by digests made this way: it must be how they were stored.
    pub fn with_hasher(self, hasher: KeyHasher) -> Self {
        self.with(|config| config.hasher = hasher)
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with(|config| config.clock = Arc::new(clock))
    }

    /// Waits this long for the store, 5 seconds by default and at most a day, then answers
    /// `Unavailable`. With retired peppers the store may be asked several times within it.
    ///
    /// The wait uses tokio's timer, so a store that has to be waited for needs a tokio runtime
    /// with time enabled.
    pub fn with_lookup_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.lookup_timeout = timeout.min(A_DAY))
    }

    /// Bounds how many requests may wait, by default 10,000 and 64 MiB: further ones that would
    /// have to are denied at once as [`Overloaded`](crate::RejectionKind::Overloaded).
    pub fn with_waiting_limit(self, limit: WaitingLimit) -> Self {
        self.with(|config| config.waiting = limit)
    }

    /// Lets requests past the layer, unauthenticated and without an identity: health checks, an
    /// OpenAPI document, a login page.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, store::MemoryStore};
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new())
    ///     .with_bypass(|request| request.uri.path() == "/health");
    /// # let _ = layer;
    /// ```
    pub fn with_bypass(
        self,
        bypass: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.bypass = Some(Arc::new(bypass)))
    }

    /// Lets requests without any credential in, without an identity. A credential that is sent
    /// must be good all the same.
    pub fn allow_anonymous(self) -> Self {
        self.with(|config| config.allow_anonymous = true)
    }

    /// Lets CORS preflights in without a key, for an application whose CORS layer has to stand
    /// inside this one. Call it last: the layer that it makes has no settings.
    ///
    /// Put the CORS layer outside wherever you can. There it answers preflights itself, this layer
    /// judges every request that it sees, and browsers can read its denials.
    ///
    /// Nothing proves that a request is a preflight; any client can send one of that shape. Opting
    /// in means that such a request skips everything that this layer does: it needs no key and no
    /// secure transport, no throttle or limit counts it, no usage is recorded. Whatever answers
    /// `OPTIONS` inside then runs for every caller. Services that ignore the method are among it:
    /// tonic's, plain hyper services, and axum's `any`, `route_service`, `nest_service` and
    /// `fallback`. Let a CORS layer that answers every preflight stand between this layer and
    /// them.
    ///
    /// A request passes only if a browser could have sent it: `OPTIONS` with one `Origin` and one
    /// `Access-Control-Request-Method`; an empty body, by
    /// [`is_end_stream`](http_body::Body::is_end_stream); none of the headers
    /// `Authorization`, `Cookie`, `Content-…`, `Transfer-Encoding`, `TE`, `Trailer`, `Expect`,
    /// `Upgrade`, `Proxy-Authorization`, `gRPC-…` or `X-gRPC-Web`, and none that overrides the
    /// method; no credential in any source of this layer. Every other request is judged as ever.
    ///
    /// It has no identity, so extractors deny it. [`RequireScopesLayer`], [`OwnerLayer`] and
    /// [`ExtraCostLayer`] inside let it on; another `ApiKeyLayer` inside judges it again.
    ///
    /// [`RequireScopesLayer`]: crate::RequireScopesLayer
    /// [`OwnerLayer`]: crate::OwnerLayer
    /// [`ExtraCostLayer`]: crate::extra_cost::ExtraCostLayer
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, store::MemoryStore};
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new()).pass_cors_preflights();
    /// # let _ = layer;
    /// ```
    pub const fn pass_cors_preflights(self) -> PassPreflightsLayer {
        PassPreflightsLayer::new(self)
    }

    /// Refuses requests that did not come over TLS, whatever their key: their URI's scheme must
    /// be `https`.
    ///
    /// The scheme is the client's word, which keeps honest clients from sending keys in the clear
    /// by mistake. Most servers see only a path, and a proxy in front takes the TLS off: then say
    /// how to tell, with [`with_secure_transport_check`](Self::with_secure_transport_check).
    pub fn require_secure_transport(self) -> Self {
        self.with_secure_transport_check(|request| request.uri.scheme_str() == Some("https"))
    }

    /// Refuses requests for which `is_secure` is false, whatever their key.
    ///
    /// Trust a header such as `X-Forwarded-Proto` only if a proxy of yours always sets it.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, store::MemoryStore};
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new()).with_secure_transport_check(|request| {
    ///     request.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
    /// });
    /// # let _ = layer;
    /// ```
    pub fn with_secure_transport_check(
        self,
        is_secure: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.secure_transport = Some(Arc::new(is_secure)))
    }

    /// Says how to tell the client's address, which keys with an allow-list need: without it, or
    /// when it finds none, such keys are refused.
    ///
    /// With axum's `into_make_service_with_connect_info::<SocketAddr>()` and no proxy in front:
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_api_key::{ApiKeyLayer, store::MemoryStore};
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new()).with_client_address(|request| {
    ///     let peer = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
    ///     Some(peer.ip())
    /// });
    /// # let _ = layer;
    /// ```
    ///
    /// Behind a proxy, a [`ForwardedFor`](crate::auth::ForwardedFor) reads the header that it writes.
    pub fn with_client_address<A: Into<ClientAddress>>(
        self,
        address: impl Fn(&RequestHead<'_>) -> A + Send + Sync + 'static,
    ) -> Self {
        let address = move |request: &RequestHead<'_>| address(request).into();
        self.with(|config| config.client_address = Some(Arc::new(address)))
    }

    /// Takes keys out of the request before the inner service sees it; every other byte of the
    /// headers and the query stays as it was sent.
    ///
    /// Of a request with a good key, what goes is this key, and in every source of the layer
    /// whatever has the shape of an accepted [prefixed](KeyFormat::new) format. Of a request that
    /// the bypass matches, only the latter goes: what else it holds was not judged, and a token of
    /// another system in `Authorization` stays. An [opaque](KeyFormat::opaque) key has no shape,
    /// so only the one that was judged is taken out.
    ///
    /// axum keeps the target of a request for handlers, as `OriginalUri`. With feature `axum` it
    /// is treated like the target itself. Copies that other layers keep in extensions of their
    /// own cannot be known: let such layers stand inside this one.
    ///
    /// Without this, the headers that hold keys are marked sensitive, so that `Debug` does not
    /// print them.
    pub fn hide_credentials(self) -> Self {
        self.with(|config| config.hide_credentials = true)
    }

    /// Lets in keys that another system stored as slow hashes; see
    /// [`LegacyHashes`](crate::legacy::LegacyHashes).
    ///
    /// Such keys do not look like yours, so [opaque](KeyFormat::opaque) keys are accepted from now
    /// on, beside the formats that were, unless one of these is opaque. Keep accepting them when this is taken away.
    #[cfg(feature = "legacy-hashes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "legacy-hashes")))]
    pub fn with_legacy_hashes(self, legacy: crate::legacy::LegacyHashes) -> Self {
        self.with(|config| {
            config.legacy = Some(legacy);
            if config.formats.iter().all(|format| !format.prefix().is_empty()) {
                config.formats.push(KeyFormat::opaque());
            }
        })
    }

    /// Limits how many requests a key may make, and tells callers how many are left.
    ///
    /// Where a layer directly outside of this one has counted the key by the very same limits, as layers of
    /// one manager do, it counts once: by what the outer layer says that it costs. That layer is known by the
    /// identity in the request's extensions, so an application that makes requests of its own out of one must
    /// not copy that into them. It is the same for credits and for uses.
    pub fn with_rate_limits(self, limits: RateLimits) -> Self {
        self.with(|config| {
            config.rate_limits = Some(limits);
            config.enforced = config.enforced.and(Needs::LIMITS);
        })
    }

    /// Spends the credits of keys that have some, and tells callers what is left of them in
    /// `Credits-Remaining`.
    pub fn with_credits(self, credits: Credits) -> Self {
        self.with(|config| {
            config.credits = Some(credits);
            config.enforced = config.enforced.and(Needs::CREDITS);
        })
    }

    /// Lets in keys that have rate limits of their own, without counting, where this layer has no
    /// [`RateLimits`]: they are counted elsewhere, by a gateway or another layer.
    ///
    /// Without this, such a key is refused as `store_unavailable` (503), and an error is logged: a
    /// restriction that nothing enforces is none.
    pub fn ignoring_limits(self) -> Self {
        self.with(|config| config.enforced = config.enforced.and(Needs::LIMITS))
    }

    /// The same for keys that spend credits, where this layer has no [`Credits`].
    pub fn ignoring_credits(self) -> Self {
        self.with(|config| config.enforced = config.enforced.and(Needs::CREDITS))
    }

    /// Throttles clients that send too many bad keys, before any lookup. Call
    /// [`with_client_address`](Self::with_client_address) before this.
    ///
    /// A layer that was not told how to tell addresses is an
    /// [`AddressSource`](ConfigError::AddressSource) error: it would throttle no client. Requests whose
    /// address is unknown are never throttled.
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use tower_api_key::{ApiKeyLayer, auth::FailureThrottle, limit::Quota, nonzero, store::MemoryStore};
    ///
    /// let throttle = FailureThrottle::new(Quota::per_minute(nonzero!(20)));
    /// let layer = ApiKeyLayer::new(MemoryStore::new());
    /// assert!(layer.clone().with_failure_throttle(throttle.clone()).is_err());
    /// let layer = layer
    ///     .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
    ///     .with_failure_throttle(throttle)?;
    /// # let _ = layer;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn with_failure_throttle(self, throttle: FailureThrottle) -> Result<Self, ConfigError> {
        if self.config.client_address.is_none() {
            return Err(ConfigError::AddressSource { setting: "with_failure_throttle" });
        }
        Ok(self.with(|config| config.throttle = Some(throttle)))
    }

    /// Counts the uses of keys, for `last_used_at` and `use_count`.
    pub fn with_usage(self, usage: UsageRecorder) -> Self {
        self.with(|config| config.usage = Some(usage))
    }

    /// Puts an [`AccessRecord`](crate::auth::AccessRecord) into the extensions of each response, for access
    /// logs outside: the key's id, its owner, and the decision.
    pub fn with_access_records(self) -> Self {
        self.with(|config| config.tells_access = true)
    }

    /// The realm named in challenges, `api` by default.
    pub fn with_realm(self, realm: &str) -> Self {
        self.with(|config| config.realm = realm.into()).with_derived()
    }

    /// Names the document that describes the service in each `Bearer` challenge, as `resource_metadata`
    /// (RFC 9728 §5.1): of a 401, and of a 403 for a missing scope. Clients of the Model Context
    /// Protocol look for it there. The other challenges stay as they are.
    ///
    /// The application serves the document, past this layer: its readers have no key yet. For the
    /// resource `https://api.example.com/mcp` it is at the URL of the example (RFC 9728 §3.1). Write
    /// the URL into the configuration: the `Host` of a request is the client's word.
    ///
    /// A text that is no URL of scheme `https`, or `http` on the local machine, that has a user or a
    /// fragment, a character that has no place in a URL, or more than 2,048 bytes, is a
    /// [`ResourceMetadata`](ConfigError::ResourceMetadata) error.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, KeySource, store::MemoryStore};
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new())
    ///     .with_sources([KeySource::bearer()])
    ///     .with_resource_metadata(
    ///         "https://api.example.com/.well-known/oauth-protected-resource/mcp",
    ///     )?;
    /// # let _ = layer;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn with_resource_metadata(self, url: &str) -> Result<Self, ConfigError> {
        let url = ResourceMetadataUrl::parse(url)?;
        Ok(self.with(|config| config.resource_metadata = Some(url)).with_derived())
    }

    /// Adds challenges of a layer beside this one.
    pub(super) fn with_foreign_challenges(
        self,
        challenges: impl IntoIterator<Item = HeaderValue>,
    ) -> Self {
        self.with(|config| config.foreign_challenges.extend(challenges)).with_derived()
    }

    /// Answers every denial of a key that is no use here with 401 and the one code `invalid_key`:
    /// malformed, unknown, revoked, disabled, expired and not yet valid keys, keys that may not be
    /// used [from this address](crate::RejectionKind::AddressNotAllowed), and keys of an
    /// [inactive owner](crate::RejectionKind::InactiveOwner), also where an
    /// [`OwnerLayer`](crate::OwnerLayer) or a handler inside denies them. Over gRPC as well, with its
    /// details. The [`Rejection`] in the response's extensions still says the truth, to the service.
    ///
    /// What a good key may learn stays: 429 tells that a key exists whose limit or credits are used
    /// up, and 403 `insufficient_scope` that a key is good and lacks a scope.
    ///
    /// [`Rejection`]: crate::Rejection
    pub fn with_uniform_denials(self) -> Self {
        self.with(|config| config.renderer.uniform = true)
    }

    /// Denies gRPC-Web requests in the form of that protocol, too: `POST` with the content type
    /// `application/grpc-web` or `application/grpc-web-text`, each perhaps with a suffix such as
    /// `+proto`. Native requests count over every version of HTTP then, since a gRPC-Web layer
    /// outside this one makes them of gRPC-Web requests over HTTP/1.1.
    ///
    /// By default only native gRPC requests are denied in the form of gRPC, which is HTTP 200 with
    /// a status in `grpc-status`: `POST` over HTTP/2 or later with `te: trailers` and the one
    /// content type `application/grpc`, perhaps with a suffix such as `+proto`.
    ///
    /// Both have the details that [the guide](crate::guide::tonic) lists, in headers: a page of another
    /// origin reads those that the CORS layer exposes.
    ///
    /// Do not use this where a proxy asks the service whether to let requests in, as `auth_request`
    /// of nginx does: such a proxy takes 200 for yes and copies the client's headers, and where it
    /// also keeps the method `POST`, a client could choose to be denied with 200.
    pub fn with_grpc_web_denials(self) -> Self {
        self.with(|config| config.renderer.grpc = GrpcDenials::NativeAndWeb)
    }

    /// Denies every request as problem details, whatever its headers say: for services without
    /// gRPC. It holds for all layers inside as well.
    ///
    /// Behind a proxy that asks the service over HTTP/2 with the client's method and headers, this
    /// is what keeps a denial from being a success.
    pub fn without_grpc_denials(self) -> Self {
        self.with(|config| config.renderer.grpc = GrpcDenials::Never)
    }

    /// Answers denials another way; see [`RejectionResponse`].
    pub fn with_rejection_response(self, response: impl RejectionResponse) -> Self {
        self.with(|config| config.renderer.hook = Some(Arc::new(response)))
    }

    /// Leaves `Vary` and `Cache-Control` to the application.
    ///
    /// By default responses vary on the headers that keys may be in, and are `private` unless
    /// the application said something about caching: a shared cache protects `Authorization` by
    /// itself, but it would hand one caller's answer to the next where keys come in a header of
    /// our own (RFC 9111 §3.5).
    pub fn insecure_without_cache_headers(self) -> Self {
        self.with(|config| config.cache_headers = false)
    }

    /// Calls `hook` on every denial, with a [`KeyEvent`] of action
    /// [`Denied`](crate::key::KeyAction::Denied), which holds the key's id and the client's address
    /// where they are known. It must not block.
    pub fn with_event_hook(self, hook: impl Fn(&KeyEvent) + Send + Sync + 'static) -> Self {
        self.set_event_hook(Some(Arc::new(hook)))
    }

    #[cfg(feature = "axum")]
    pub(crate) fn id(&self) -> LayerId {
        self.config.id
    }

    /// The client's address, if this layer was told how to find it.
    #[cfg(feature = "axum")]
    pub(crate) fn client_address(&self, request: &RequestHead<'_>) -> Option<IpAddr> {
        self.config.address(request)
    }

    /// The query parameters in which keys are looked for.
    #[cfg(feature = "axum")]
    pub(crate) fn query_parameters(&self) -> impl Iterator<Item = &str> {
        self.config.sources.iter().filter_map(KeySource::query_parameter)
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(crate) fn set_event_hook(self, hook: Option<EventHook>) -> Self {
        self.with(|config| config.events = hook)
    }

    pub(crate) fn with_write_back(self, write_back: WriteBack) -> Self {
        self.with(|config| config.write_back = Some(write_back))
    }
}

impl<S> Layer<S> for ApiKeyLayer {
    type Service = ApiKeyAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let shared = self.shared.get_or_init(|| {
            register(&self.config);
            SharedConfig::new(self.config.clone())
        });
        ApiKeyAuth::new(inner, shared.for_service())
    }
}

impl fmt::Debug for ApiKeyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyLayer").field("config", &self.config).finish_non_exhaustive()
    }
}
