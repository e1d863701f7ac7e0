//! [`WithKey`]: requests with a key.

use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL},
    request::Builder,
    uri::PathAndQuery,
};

use crate::{
    auth::{KeySource, extract::SourceKind},
    key::SecretKey,
    manage::IssuedKey,
    text::{base64, percent_encode},
};

/// Puts a key into a request, or into one that is being built.
///
/// ```
/// use http::Request;
/// use tower_api_key::{KeySource, testing::{TestKeys, WithKey}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> http::Result<()> {
/// let key = TestKeys::new().any().await;
/// let request = Request::get("/orders").with_key(&key).body(())?;
/// assert_eq!(request.headers()["x-api-key"], key.secret.expose());
///
/// let request = Request::get("/orders").body(())?.with_key_in(&KeySource::bearer(), &key);
/// assert_eq!(request.headers()["authorization"], format!("Bearer {}", key.secret.expose()));
/// # Ok(())
/// # }
/// ```
pub trait WithKey: Sized {
    /// With this key in `X-API-Key`: an [`IssuedKey`], a [`SecretKey`] or a `str`.
    ///
    /// # Panics
    ///
    /// If the key holds bytes that no header can have.
    #[must_use]
    fn with_key<K: ExposeKey + ?Sized>(self, key: &K) -> Self {
        self.with_key_in(&KeySource::x_api_key(), key)
    }

    /// With this key in this place. A request that is being built must have its URI before a key goes
    /// into the query or the path. One for a WebSocket needs its other headers as well.
    ///
    /// # Panics
    ///
    /// If the key holds bytes that the place cannot have, if the path does not begin with the prefix of a
    /// [`path_segment`](KeySource::path_segment), and for a [`custom`](KeySource::custom) source.
    #[must_use]
    fn with_key_in<K: ExposeKey + ?Sized>(self, source: &KeySource, key: &K) -> Self;
}

/// A key that can be sent.
pub trait ExposeKey {
    /// The key itself.
    fn expose_key(&self) -> &str;
}

impl ExposeKey for IssuedKey {
    fn expose_key(&self) -> &str {
        self.secret.expose()
    }
}

impl ExposeKey for SecretKey {
    fn expose_key(&self) -> &str {
        self.expose()
    }
}

impl ExposeKey for str {
    fn expose_key(&self) -> &str {
        self
    }
}

impl<B> WithKey for Request<B> {
    fn with_key_in<K: ExposeKey + ?Sized>(mut self, source: &KeySource, key: &K) -> Self {
        match Place::of(source, key.expose_key()) {
            Place::Header(name, value) => {
                self.headers_mut().append(name, value);
            }
            Place::Target(change) => *self.uri_mut() = change(self.uri()),
        }
        self
    }
}

impl WithKey for Builder {
    fn with_key_in<K: ExposeKey + ?Sized>(self, source: &KeySource, key: &K) -> Self {
        match Place::of(source, key.expose_key()) {
            Place::Header(name, value) => self.header(name, value),
            Place::Target(change) => match self.uri_ref().map(change) {
                Some(uri) => self.uri(uri),
                // The builder has an error, which its `body` returns.
                None => self,
            },
        }
    }
}

/// The bytes to add.
enum Place {
    Header(HeaderName, HeaderValue),
    Target(Box<dyn FnOnce(&Uri) -> Uri>),
}

impl Place {
    fn of(source: &KeySource, key: &str) -> Self {
        match source.kind() {
            SourceKind::Header(name) => Self::header(name.clone(), key),
            SourceKind::Scheme { header, scheme } => {
                Self::header(header.clone(), &format!("{scheme} {key}"))
            }
            SourceKind::Basic => Self::header(
                AUTHORIZATION,
                &format!("Basic {}", padded(format!("{key}:").as_bytes())),
            ),
            SourceKind::Cookie(name) => Self::header(COOKIE, &format!("{name}={key}")),
            SourceKind::WebSocketProtocol(name) => {
                Self::header(SEC_WEBSOCKET_PROTOCOL, &format!("{name}, {key}"))
            }
            SourceKind::Query(name) => {
                let pair = format!("{}={}", encoded(name), encoded(key));
                Self::Target(Box::new(move |uri| with_pair(uri, &pair)))
            }
            SourceKind::PathSegment(prefix) => {
                let (prefix, key) = (prefix.clone(), key.to_owned());
                Self::Target(Box::new(move |uri| with_segment(uri, &prefix, &key)))
            }
            SourceKind::Custom(custom) => {
                panic!(
                    "where the source `{}` looks is known to the application alone",
                    custom.name()
                )
            }
        }
    }

    fn header(name: HeaderName, value: &str) -> Self {
        let mut value = HeaderValue::from_str(value).expect("a key that a header can hold");
        value.set_sensitive(true);
        Self::Header(name, value)
    }
}

/// Everything but unreserved characters as `%…` (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    percent_encode(text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// Base64 with padding, as `Basic` has it (RFC 7617 §2).
fn padded(bytes: &[u8]) -> String {
    let text = base64(bytes);
    format!("{text:=<width$}", width = bytes.len().div_ceil(3) * 4)
}

/// The path with the key behind its prefix.
fn with_segment(uri: &Uri, prefix: &str, key: &str) -> Uri {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let before = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = target.strip_prefix(before).expect("a path that begins with the prefix");
    let rest = if rest == "/" { "" } else { rest };
    with_target(uri, &format!("{prefix}{key}{rest}"))
}

fn with_pair(uri: &Uri, pair: &str) -> Uri {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let separator = if uri.query().is_some() { '&' } else { '?' };
    with_target(uri, &format!("{target}{separator}{pair}"))
}

fn with_target(uri: &Uri, target: &str) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().expect("a key that a URI can hold"));
    Uri::from_parts(parts).expect("only the target has changed")
}
