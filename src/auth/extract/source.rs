//! [`KeySource`]: the places where keys are looked for.

use std::{mem, sync::Arc};

use http::{
    HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};

use super::{
    Credential, Found, basic, cookie, custom::CustomSource, header, path, query, websocket,
};
use crate::{error::ConfigError, request::RequestHead};

/// A place in a request where a key may be.
///
/// White space around the value of a header is no part of a key: HTTP/1 takes it away, and so the same key
/// counts over HTTP/2 and gRPC.
///
/// ```
/// use tower_api_key::KeySource;
///
/// let sources = [
///     KeySource::header("x-api-key")?,
///     KeySource::bearer(),
///     KeySource::header_scheme("authorization", "Token")?,
///     KeySource::basic(),
///     KeySource::cookie("api_key")?,
///     KeySource::websocket_protocol("api-key")?,
/// ];
/// # let _ = sources;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    kind: SourceKind,
    /// Whether browsers send a credential of this source along by themselves.
    is_ambient: bool,
    /// Whether a 401 asks for a credential of this source.
    is_asked_for: bool,
}

#[derive(Clone, Debug, Eq)]
pub(crate) enum SourceKind {
    /// The whole value of a header.
    Header(HeaderName),
    /// The value after this scheme in a header.
    Scheme {
        header: HeaderName,
        scheme: Box<str>,
    },
    /// The user name of `Authorization: Basic`.
    Basic,
    /// The value of a query parameter.
    Query(Box<str>),
    /// The value of a cookie.
    Cookie(Box<str>),
    /// What follows this name in the list of a WebSocket's sub-protocols.
    WebSocketProtocol(Box<str>),
    /// The segment of the path after this prefix, which ends with `/`.
    PathSegment(Box<str>),
    Custom(Arc<CustomSource>),
}

impl PartialEq for SourceKind {
    /// As requests are read: the case of a scheme does not matter.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(a), Self::Header(b)) => a == b,
            (
                Self::Scheme { header: a, scheme: one },
                Self::Scheme { header: b, scheme: other },
            ) => a == b && one.eq_ignore_ascii_case(other),
            (Self::Basic, Self::Basic) => true,
            (Self::Query(a), Self::Query(b))
            | (Self::Cookie(a), Self::Cookie(b))
            | (Self::WebSocketProtocol(a), Self::WebSocketProtocol(b))
            | (Self::PathSegment(a), Self::PathSegment(b)) => a == b,
            (Self::Custom(a), Self::Custom(b)) => a == b,
            _ => false,
        }
    }
}

/// The schemes for which browsers ask their user, or the system, and then send a credential along
/// with every request to the host.
const AMBIENT_SCHEMES: [&str; 3] = ["Digest", "Negotiate", "NTLM"];

impl KeySource {
    fn new(kind: SourceKind) -> Self {
        let is_ambient = match &kind {
            SourceKind::Header(name) => *name == COOKIE,
            SourceKind::Scheme { header, scheme } => {
                [AUTHORIZATION, PROXY_AUTHORIZATION].contains(header)
                    && AMBIENT_SCHEMES.iter().any(|ambient| scheme.eq_ignore_ascii_case(ambient))
            }
            SourceKind::Basic | SourceKind::Cookie(_) => true,
            SourceKind::Custom(custom) => custom.is_ambient(),
            SourceKind::Query(_)
            | SourceKind::WebSocketProtocol(_)
            | SourceKind::PathSegment(_) => false,
        };
        // For a scheme that browsers know, they would ask their user.
        let is_asked_for =
            !is_ambient || !matches!(kind, SourceKind::Scheme { .. } | SourceKind::Basic);
        Self { kind, is_ambient, is_asked_for }
    }

    /// The whole value of the header `name`, such as `X-API-Key`.
    ///
    /// `Authorization` without a scheme can be read like this, but not beside
    /// [`bearer`](Self::bearer): each of the two would find a credential in the same header.
    pub fn header(name: &str) -> Result<Self, ConfigError> {
        Ok(Self::new(SourceKind::Header(header_name(name)?)))
    }

    /// The whole value of `X-API-Key`, the name most services use.
    pub fn x_api_key() -> Self {
        Self::new(SourceKind::Header(HeaderName::from_static("x-api-key")))
    }

    /// `Authorization: Bearer <key>` (RFC 6750 §2.1). The scheme's case does not matter.
    pub fn bearer() -> Self {
        Self::new(SourceKind::Scheme { header: AUTHORIZATION, scheme: "Bearer".into() })
    }

    /// `<name>: <scheme> <key>`, such as `Authorization: Token <key>`. The scheme's case does not matter.
    ///
    /// Browsers send credentials of `Digest`, `Negotiate` and `NTLM` in `Authorization` along by
    /// themselves, so those are judged as [cookies](Self::cookie) are, and no 401 asks for them: a browser
    /// would ask its user for a name and a password. `Basic` is a [`ConfigError`]: its credentials are
    /// encoded, as [`basic`](Self::basic) reads them.
    pub fn header_scheme(name: &str, scheme: &str) -> Result<Self, ConfigError> {
        if scheme.eq_ignore_ascii_case(basic::SCHEME) {
            return Err(ConfigError::BasicScheme);
        }
        let scheme = named(scheme, "scheme", is_token)?;
        Ok(Self::new(SourceKind::Scheme { header: header_name(name)?, scheme }))
    }

    /// `Authorization: Basic`, with the key as the user name and no password (RFC 7617): what
    /// `curl --user <key>:` sends. A password, and a credential that is not canonical base64, makes it
    /// malformed. A key with a colon in it cannot be sent like this.
    ///
    /// No 401 asks for it, since a browser would ask its user for a name and a password and then send them
    /// along by itself, unless [told to](Self::with_challenge). Such a key is judged as a
    /// [cookie](Self::cookie) is.
    pub fn basic() -> Self {
        Self::new(SourceKind::Basic)
    }

    /// The query parameter `name`. Percent-encoding is undone, in its name too; `+` stays `+`.
    ///
    /// Keys in URLs end up in logs, histories and `Referer` headers. Offer this only where clients
    /// can do no better, and consider [`hide_credentials`](crate::ApiKeyLayer::hide_credentials). It
    /// takes a key out of the request's own target. Copies of the target in headers stay as they
    /// were sent: `Referer`, and what proxies add, such as `X-Forwarded-Uri` and `X-Original-URL`.
    pub fn query(name: &str) -> Result<Self, ConfigError> {
        named(name, "query", |name| !name.is_empty()).map(|name| Self::new(SourceKind::Query(name)))
    }

    /// The cookie `name`.
    ///
    /// Browsers send cookies along with requests that other sites make, so a key in a cookie does
    /// not count where it may have been another site's idea: with a method that may change
    /// something (any but `GET`, `HEAD`, `OPTIONS` and `TRACE`) or with `Upgrade`, as of a
    /// WebSocket. Such a request is let in only if the browser says `Sec-Fetch-Site: same-origin`
    /// or `none`; a browser that does not say it must name in `Origin` the very host that the
    /// request goes to. Otherwise it is refused as [`CrossSite`](crate::RejectionKind::CrossSite), before
    /// the key is looked at. A request with neither header comes from no browser of today, and is
    /// judged as usual.
    ///
    /// Behind a proxy that changes `Host`, the second way finds no match: have the proxy keep it.
    pub fn cookie(name: &str) -> Result<Self, ConfigError> {
        named(name, "cookie", is_token).map(|name| Self::new(SourceKind::Cookie(name)))
    }

    /// What follows `name` in the sub-protocols that a WebSocket's client offers:
    /// `Sec-WebSocket-Protocol: <name>, <key>`. Scripts in browsers can set no other header of a WebSocket:
    ///
    /// ```js
    /// new WebSocket(url, ["api-key", key])
    /// ```
    ///
    /// It is read only where a WebSocket is asked for, by `Upgrade: websocket` (RFC 6455) or by an extended
    /// `CONNECT` (RFC 8441). The key is always taken out of the list, so that no service can choose it as
    /// its protocol, and `name` stays. So of several layers on the way, only the outermost can read it. A client that offers protocols expects one of them: where the service
    /// accepts without a choice of its own, the layer chooses `name`.
    ///
    /// A sub-protocol is a token (RFC 9110 §5.6.2): a key with other characters cannot be sent like this.
    pub fn websocket_protocol(name: &str) -> Result<Self, ConfigError> {
        named(name, "websocket", is_token)
            .map(|name| Self::new(SourceKind::WebSocketProtocol(name)))
    }

    /// The segment of the path after `prefix`: with `/hooks`, the key of `/hooks/<key>/build` is `<key>`.
    ///
    /// Keys in URLs end up in logs and histories: offer this only to clients that can be given nothing but
    /// a URL. With [`hide_credentials`](crate::ApiKeyLayer::hide_credentials) the service behind the layer
    /// gets `/hooks/build`; without it, the target as it was sent.
    ///
    /// The segment is compared as it is sent: a percent sign in it, or a prefix that is written another way,
    /// is no key. The layer must stand around the whole router, which otherwise may have taken the path
    /// apart: inside an axum router (feature `axum`) each request is answered 500.
    ///
    /// `prefix` begins with `/`, does not end with it unless it is the root, and has no empty or dot
    /// segment and no percent sign.
    pub fn path_segment(prefix: &str) -> Result<Self, ConfigError> {
        let prefix = named(prefix, "path", path::is_prefix)?;
        let prefix = if prefix.ends_with('/') { prefix } else { format!("{prefix}/").into() };
        Ok(Self::new(SourceKind::PathSegment(prefix)))
    }

    /// A place that the application reads itself; see [`CustomSource`](crate::auth::CustomSource).
    pub fn custom(source: CustomSource) -> Self {
        Self::new(SourceKind::Custom(Arc::new(source)))
    }

    /// A 401 asks for this source, also if it is [`basic`](Self::basic) or another one for which browsers
    /// ask their user.
    pub fn with_challenge(self) -> Self {
        Self { is_asked_for: true, ..self }
    }

    pub(crate) fn kind(&self) -> &SourceKind {
        &self.kind
    }

    /// The query parameter that it looks into.
    #[cfg(feature = "axum")]
    pub(crate) fn query_parameter(&self) -> Option<&str> {
        match &self.kind {
            SourceKind::Query(name) => Some(name),
            _ => None,
        }
    }

    /// The words that OpenAPI has for places, and others.
    pub(crate) fn family(&self) -> &'static str {
        match &self.kind {
            SourceKind::Scheme { header, .. } if *header == AUTHORIZATION => "authorization",
            SourceKind::Header(_) | SourceKind::Scheme { .. } => "header",
            SourceKind::Custom(custom) if custom.header().is_some() => "header",
            SourceKind::Basic => "authorization",
            SourceKind::Query(_) => "query",
            SourceKind::Cookie(_) => "cookie",
            SourceKind::WebSocketProtocol(_) => "websocket",
            SourceKind::PathSegment(_) => "path",
            SourceKind::Custom(_) => "custom",
        }
    }

    /// Whether browsers send a credential of this source along by themselves.
    pub(crate) fn is_ambient(&self) -> bool {
        self.is_ambient
    }

    pub(crate) fn is_path(&self) -> bool {
        matches!(self.kind, SourceKind::PathSegment(_))
    }

    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.kind, SourceKind::WebSocketProtocol(_))
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// Whether it is a header, and browsers do not send it by themselves.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_header() && !self.is_ambient
    }

    /// Whether it is the value of a header, or what follows a scheme in it.
    pub(super) fn is_header(&self) -> bool {
        matches!(self.kind, SourceKind::Header(_) | SourceKind::Scheme { .. })
    }

    /// The key in a value of its header, if the source is a [header](Self::is_header).
    #[inline]
    pub(super) fn key_in<'v>(&self, value: &'v HeaderValue) -> Option<&'v [u8]> {
        match &self.kind {
            SourceKind::Header(_) => Some(header::value(value)),
            SourceKind::Scheme { scheme, .. } => header::of_scheme(scheme, value),
            _ => None,
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match &self.kind {
            SourceKind::Header(name) => Some(name.as_str()),
            SourceKind::Scheme { header, .. } if *header != AUTHORIZATION => Some(header.as_str()),
            SourceKind::Scheme { .. } | SourceKind::Basic => None,
            SourceKind::Query(name)
            | SourceKind::Cookie(name)
            | SourceKind::WebSocketProtocol(name)
            | SourceKind::PathSegment(name) => Some(name),
            SourceKind::Custom(custom) => {
                Some(custom.header().map_or_else(|| custom.name(), HeaderName::as_str))
            }
        }
    }

    /// The header that responses vary on because of this source.
    pub(crate) fn header_name(&self) -> Option<&HeaderName> {
        match &self.kind {
            SourceKind::Header(name) | SourceKind::Scheme { header: name, .. } => Some(name),
            SourceKind::Basic => Some(&AUTHORIZATION),
            SourceKind::Cookie(_) => Some(&COOKIE),
            SourceKind::WebSocketProtocol(_) => Some(&SEC_WEBSOCKET_PROTOCOL),
            SourceKind::Custom(custom) => custom.header(),
            SourceKind::Query(_) | SourceKind::PathSegment(_) => None,
        }
    }

    /// Gives the credential in this source to `judge`, if there is one and no other.
    pub(crate) fn with_only<T>(
        &self,
        head: &RequestHead<'_>,
        judge: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        match self.find(head) {
            Found::One(credential) => credential.with_key(judge),
            Found::None | Found::Several => None,
        }
    }

    /// Whether there is a credential that is like that, however it is encoded.
    pub(crate) fn any(&self, head: &RequestHead<'_>, is: impl Fn(&[u8]) -> bool) -> bool {
        let mut any = false;
        self.each(head, |credential| any |= credential.is_like(&is));
        any
    }

    #[inline]
    pub(super) fn find<'r>(&self, head: &RequestHead<'r>) -> Found<'r> {
        match &self.kind {
            SourceKind::Header(name) => header::find(name, head.headers),
            SourceKind::Scheme { header, scheme } => {
                header::find_scheme(header, scheme, head.headers)
            }
            SourceKind::Query(name) => query::find(name, head.uri),
            _ => self.find_elsewhere(head),
        }
    }

    #[inline(never)]
    fn find_elsewhere<'r>(&self, head: &RequestHead<'r>) -> Found<'r> {
        let mut all = Found::None;
        self.each(head, |credential| {
            all = mem::replace(&mut all, Found::None).and(credential);
        });
        all
    }

    /// Whether a request may hold a credential in this source: cheaper than to find it.
    pub(super) fn may_hold(&self, head: &RequestHead<'_>) -> bool {
        match &self.kind {
            SourceKind::Query(name) => query::may_hold(name, head.uri),
            // Wherever the application looks; and a path may be the wrong one.
            SourceKind::Custom(_) | SourceKind::PathSegment(_) => true,
            _ => self.header_name().is_some_and(|name| head.headers.contains_key(name)),
        }
    }

    /// Gives all that this source holds to `found`.
    pub(super) fn each<'r>(&self, head: &RequestHead<'r>, mut found: impl FnMut(Credential<'r>)) {
        let headers = head.headers;
        match &self.kind {
            SourceKind::Header(name) => {
                header::each(name, headers, |value| Some(header::value(value)), found);
            }
            SourceKind::Scheme { header: name, scheme } => {
                header::each(name, headers, |value| header::of_scheme(scheme, value), found);
            }
            SourceKind::Basic => {
                let credentials = |credential: Credential<'r>| found(credential.of_basic());
                let read = |value| header::of_scheme(basic::SCHEME, value);
                header::each(&AUTHORIZATION, headers, read, credentials);
            }
            SourceKind::Query(name) => query::each(name, head.uri, found),
            SourceKind::Cookie(name) => cookie::each(name, headers, found),
            SourceKind::WebSocketProtocol(name) => websocket::each(name, head, found),
            SourceKind::PathSegment(prefix) => {
                path::find(prefix, head.uri).into_iter().for_each(found);
            }
            SourceKind::Custom(custom) => custom.each(head, found),
        }
    }
}

pub(super) fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| ConfigError::SourceName { family: "header" })
}

fn named(
    name: &str,
    family: &'static str,
    good: impl Fn(&str) -> bool,
) -> Result<Box<str>, ConfigError> {
    if good(name) { Ok(name.into()) } else { Err(ConfigError::SourceName { family }) }
}

/// A token of RFC 9110 §5.6.2: what schemes, sub-protocols and cookie names are made of.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
