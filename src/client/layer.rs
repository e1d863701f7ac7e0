//! [`AttachApiKeyLayer`]: the configuration.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, header};
use tower_layer::Layer;

use super::{
    attach::{Config, Server},
    header::is_of_http,
    key::ClientKey,
    origin::Origin,
    service::AttachApiKey,
};
use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
};

/// Sends an API key along with the requests of a client, to the origins that it is for and to no other.
///
/// A new layer sends the key in `X-API-Key`; [`with_header`](Self::with_header) and
/// [`with_bearer`](Self::with_bearer) change that.
///
/// ```
/// use tower_api_key::{
///     SecretKey,
///     client::{AttachApiKeyLayer, ClientKey},
/// };
///
/// let key = ClientKey::new(&SecretKey::new("acme_8e1f0b5d2c7a4936"))?;
/// let layer = AttachApiKeyLayer::new(key, ["https://orders.example.com"])?.with_bearer();
/// # let _ = layer;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
///
/// # Where the key goes
///
/// An origin is a scheme, a host and a port. A request has the key if the origin of its URI is one of
/// those named here, and if its `Host` field, where it has one, says the same. Any other request
/// passes without the key, and so does `CONNECT`: a proxy reads that. If the configured header of such
/// a request holds the key, that value is removed; other headers are not searched.
///
/// A request whose URI names no origin, as `/orders`, has no key either, and the first one is warned
/// of. Clients that are connected to one server send such requests: see
/// [`with_default_origin`](Self::with_default_origin).
///
/// The key replaces all values of its header, and `Connection` no longer names that header. Otherwise
/// a client that forwards requests would let their senders choose the credential, or have a proxy
/// remove it.
///
/// The layer trusts the URI. A connector that sends an `https` request without TLS shows the key on the
/// way, and a forward proxy reads the key of an `http` request, also of one to a loopback address.
///
/// # Redirects
///
/// This layer belongs **inside** a layer that follows redirects, next to the client: there it judges
/// each hop. A layer that follows redirects inside of this one copies the headers of the first request,
/// and may send `X-API-Key` to where a server sends it: that of tower-http removes `Authorization`
/// alone. So may a client that follows them by itself: that is to be switched off.
///
/// # Responses
///
/// They are handed on as they are, and no request is sent twice: a body cannot be.
///
/// * **401** has the file of a [`ClientKey`] read at once, so that the next request has a key that was
///   replaced. The response is handed on once that is done, mostly after a tenth of a second, and after
///   a second at most. Several share one reading.
/// * **429** and **503** with `Retry-After`, in seconds or as a date, hold back further requests to
///   that origin while the time lasts, for at most [30 seconds](Self::with_max_wait), or until the key
///   is another. Then they go on, all at once: a limit of concurrent requests inside spreads them. A
///   warning tells of a pause, once a minute for an origin.
/// * **`Deprecation`** and **`Sunset`** are logged as a warning, once an hour for an origin, or once a
///   minute if they change. Nothing of their values is logged but times.
///
/// Clones, and all services of a layer, share the key and the pauses.
///
/// # Panics
///
/// A request that is held back, and one that was answered with 401 and has its key from a file, wait on
/// the timer of Tokio. Their future panics if it is polled outside of a Tokio runtime with time.
#[derive(Clone)]
#[must_use]
pub struct AttachApiKeyLayer {
    config: Arc<Config>,
}

/// Longer than most servers ask for, and short enough for a caller that waits.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(30);

const AN_HOUR: Duration = Duration::from_hours(1);

impl AttachApiKeyLayer {
    /// Sends the key to these origins, such as `https://api.example.com` or `https://10.0.0.7:8443`.
    ///
    /// There is at least one, and no wildcard. `http` is for this host alone (`localhost` and loopback
    /// addresses): on the way to any other, the key could be read. Anything else is
    /// [`NoOrigin`](ConfigError::NoOrigin) or [`Origin`](ConfigError::Origin).
    pub fn new<O: AsRef<str>>(
        key: ClientKey,
        origins: impl IntoIterator<Item = O>,
    ) -> Result<Self, ConfigError> {
        Self::of(key, origins, false)
    }

    /// The same, also over plaintext `http` to any host.
    ///
    /// The key can be read by everything on the way. Right where the network itself is encrypted, as
    /// between the proxies of a service mesh.
    pub fn insecure<O: AsRef<str>>(
        key: ClientKey,
        origins: impl IntoIterator<Item = O>,
    ) -> Result<Self, ConfigError> {
        Self::of(key, origins, true)
    }

    fn of<O: AsRef<str>>(
        key: ClientKey,
        origins: impl IntoIterator<Item = O>,
        allows_plaintext: bool,
    ) -> Result<Self, ConfigError> {
        let read = |(index, text): (usize, O)| {
            Origin::read(text.as_ref(), index + 1, allows_plaintext).map(Server::new)
        };
        let origins: Arc<[_]> =
            origins.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        if origins.is_empty() {
            return Err(ConfigError::NoOrigin);
        }
        let config = Config {
            key,
            header: HeaderName::from_static("x-api-key"),
            is_bearer: false,
            origins,
            default_origin: None,
            max_wait: DEFAULT_MAX_WAIT,
            clock: Arc::new(SystemClock),
            has_warned: Arc::default(),
        };
        Ok(Self { config: Arc::new(config) })
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Sends the key as the whole value of this header.
    ///
    /// [`SourceName`](ConfigError::SourceName) refuses a name that no header can have, and the headers
    /// that HTTP, a proxy, a cache or a browser reads, such as `Host`, `Cookie`, `Content-Type` and
    /// `Proxy-Authorization`.
    pub fn with_header(self, name: &str) -> Result<Self, ConfigError> {
        let header = name.parse().ok().filter(|name| !is_of_http(name));
        let header = header.ok_or(ConfigError::SourceName { family: "header" })?;
        Ok(self.with(|config| {
            config.header = header;
            config.is_bearer = false;
        }))
    }

    /// Sends the key as `Authorization: Bearer <key>`.
    pub fn with_bearer(self) -> Self {
        self.with(|config| {
            config.header = header::AUTHORIZATION;
            config.is_bearer = true;
        })
    }

    /// Takes requests whose URI names no origin for requests to this one, which is one of those named
    /// at first: else [`NotAnOrigin`](ConfigError::NotAnOrigin).
    ///
    /// **Only** around a client that sends all its requests over a connection to that origin, such as
    /// tonic's `Channel` or hyper's `SendRequest`. The layer cannot check that. A service inside that
    /// joins the path to a base URL must not have a default origin: a request decides the URI there.
    ///
    /// The path is `*`, or begins with one `/`. A request for `//evil.example`, or one that begins
    /// with `/\`, has no key: other parsers read a host there.
    pub fn with_default_origin(self, origin: &str) -> Result<Self, ConfigError> {
        let read = Origin::read(origin, 1, true).map_err(|_| ConfigError::NotAnOrigin)?;
        let index = self.config.origins.iter().position(|server| server.origin == read);
        let index = index.ok_or(ConfigError::NotAnOrigin)?;
        Ok(self.with(|config| config.default_origin = Some(index)))
    }

    /// Holds a request back for this long at most, 30 seconds by default, whatever a server asks for.
    /// Zero holds none back, and begins no pause; more than an hour is an hour.
    pub fn with_max_wait(self, wait: Duration) -> Self {
        self.with(|config| config.max_wait = wait.min(AN_HOUR))
    }

    /// Reads the time here, for a `Retry-After` that is a date in a response without `Date`.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with(|config| config.clock = Arc::new(clock))
    }
}

impl<S> Layer<S> for AttachApiKeyLayer {
    type Service = AttachApiKey<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttachApiKey::new(inner, self.config.clone())
    }
}

impl fmt::Debug for AttachApiKeyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> =
            self.config.origins.iter().map(|server| server.origin.to_string()).collect();
        f.debug_struct("AttachApiKeyLayer")
            .field("key", &self.config.key)
            .field("header", &self.config.header)
            .field("origins", &origins)
            .finish_non_exhaustive()
    }
}
