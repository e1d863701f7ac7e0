//! [`WithKey`]: requests with a key.

use std::fmt::Write;

use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, COOKIE},
    request::Builder,
    uri::PathAndQuery,
};

use crate::{
    auth::{KeySource, extract::SourceKind},
    key::SecretKey,
    manage::IssuedKey,
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
    /// into the query.
    ///
    /// # Panics
    ///
    /// If the key holds bytes that the place cannot have.
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
            Place::Query(pair) => *self.uri_mut() = with_pair(self.uri(), &pair),
        }
        self
    }
}

impl WithKey for Builder {
    fn with_key_in<K: ExposeKey + ?Sized>(self, source: &KeySource, key: &K) -> Self {
        match Place::of(source, key.expose_key()) {
            Place::Header(name, value) => self.header(name, value),
            Place::Query(pair) => match self.uri_ref().map(|uri| with_pair(uri, &pair)) {
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
    Query(String),
}

impl Place {
    fn of(source: &KeySource, key: &str) -> Self {
        match source.kind() {
            SourceKind::Header(name) => Self::header(name.clone(), key),
            SourceKind::Authorization(scheme) => {
                Self::header(AUTHORIZATION, &format!("{scheme} {key}"))
            }
            SourceKind::Cookie(name) => Self::header(COOKIE, &format!("{name}={key}")),
            SourceKind::Query(name) => Self::Query(format!("{}={}", encoded(name), encoded(key))),
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
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn with_pair(uri: &Uri, pair: &str) -> Uri {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let separator = if uri.query().is_some() { '&' } else { '?' };
    let mut parts = uri.clone().into_parts();
    let target = format!("{target}{separator}{pair}");
    parts.path_and_query = Some(target.parse().expect("the pair is percent-encoded"));
    Uri::from_parts(parts).expect("only the query has changed")
}
