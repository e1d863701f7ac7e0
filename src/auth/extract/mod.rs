//! Where keys are looked for, and how several of them are told apart.

mod cookie;
mod cross_site;
mod header;
mod hide;
mod query;

use std::fmt;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE},
};
use zeroize::Zeroizing;

use crate::{error::ConfigError, key::RejectionKind, request::RequestHead};

pub(crate) use self::hide::{Ours, hide, hide_in_copies, mark_ours, mark_sensitive, take_header};

/// A place in a request where a key may be.
///
/// ```
/// use tower_api_key::KeySource;
///
/// let sources = [
///     KeySource::header("x-api-key")?,
///     KeySource::bearer(),
///     KeySource::scheme("Token")?,
///     KeySource::cookie("api_key")?,
/// ];
/// # let _ = sources;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    kind: SourceKind,
    /// Whether browsers send a credential of this source along by themselves.
    is_ambient: bool,
}

#[derive(Clone, Debug, Eq)]
pub(crate) enum SourceKind {
    /// The whole value of a header.
    Header(HeaderName),
    /// The value after this scheme in `Authorization`.
    Authorization(Box<str>),
    /// The value of a query parameter.
    Query(Box<str>),
    /// The value of a cookie.
    Cookie(Box<str>),
}

impl PartialEq for SourceKind {
    /// As requests are read: the case of a scheme does not matter.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(a), Self::Header(b)) => a == b,
            (Self::Authorization(a), Self::Authorization(b)) => a.eq_ignore_ascii_case(b),
            (Self::Query(a), Self::Query(b)) | (Self::Cookie(a), Self::Cookie(b)) => a == b,
            _ => false,
        }
    }
}

/// The schemes for which browsers ask their user, or the system, and then send a credential along
/// with every request to the host.
const AMBIENT_SCHEMES: [&str; 4] = ["Basic", "Digest", "Negotiate", "NTLM"];

impl KeySource {
    fn new(kind: SourceKind) -> Self {
        let is_ambient = match &kind {
            SourceKind::Header(name) => *name == COOKIE,
            SourceKind::Authorization(scheme) => {
                AMBIENT_SCHEMES.iter().any(|ambient| scheme.eq_ignore_ascii_case(ambient))
            }
            SourceKind::Query(_) => false,
            SourceKind::Cookie(_) => true,
        };
        Self { kind, is_ambient }
    }

    /// The whole value of the header `name`, such as `X-API-Key`.
    ///
    /// `Authorization` without a scheme can be read like this, but not beside
    /// [`bearer`](Self::bearer): each of the two would find a credential in the same header.
    pub fn header(name: &str) -> Result<Self, ConfigError> {
        HeaderName::from_bytes(name.as_bytes())
            .map(|name| Self::new(SourceKind::Header(name)))
            .map_err(|_| ConfigError::SourceName { family: "header" })
    }

    /// The whole value of `X-API-Key`, the name most services use.
    pub fn x_api_key() -> Self {
        Self::new(SourceKind::Header(HeaderName::from_static("x-api-key")))
    }

    /// `Authorization: Bearer <key>` (RFC 6750 §2.1). The scheme's case does not matter.
    pub fn bearer() -> Self {
        Self::new(SourceKind::Authorization("Bearer".into()))
    }

    /// `Authorization: <scheme> <key>` with another scheme.
    ///
    /// Browsers send credentials of `Basic`, `Digest`, `Negotiate` and `NTLM` along by themselves,
    /// so those are judged as [cookies](Self::cookie) are, and no 401 asks for them: a browser would
    /// ask its user for a name and a password.
    pub fn scheme(scheme: &str) -> Result<Self, ConfigError> {
        named(scheme, "scheme", is_token).map(|name| Self::new(SourceKind::Authorization(name)))
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
    /// request goes to. Otherwise it is refused as [`CrossSite`](RejectionKind::CrossSite), before
    /// the key is looked at. A request with neither header comes from no browser of today, and is
    /// judged as usual.
    ///
    /// Behind a proxy that changes `Host`, the second way finds no match: have the proxy keep it.
    pub fn cookie(name: &str) -> Result<Self, ConfigError> {
        named(name, "cookie", is_token).map(|name| Self::new(SourceKind::Cookie(name)))
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

    /// The words that OpenAPI has for places, and `authorization`.
    pub(crate) fn family(&self) -> &'static str {
        match &self.kind {
            SourceKind::Header(_) => "header",
            SourceKind::Authorization(_) => "authorization",
            SourceKind::Query(_) => "query",
            SourceKind::Cookie(_) => "cookie",
        }
    }

    /// Whether browsers send a credential of this source along by themselves.
    pub(crate) fn is_ambient(&self) -> bool {
        self.is_ambient
    }

    /// Whether it is a header, and browsers do not send it by themselves.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_header() && !self.is_ambient
    }

    /// Whether it is the value of a header, or what follows a scheme in it.
    fn is_header(&self) -> bool {
        matches!(self.kind, SourceKind::Header(_) | SourceKind::Authorization(_))
    }

    /// The key in a value of its header, if the source is a [header](Self::is_header).
    #[inline]
    fn key_in<'v>(&self, value: &'v HeaderValue) -> Option<&'v [u8]> {
        match &self.kind {
            SourceKind::Header(_) => Some(value.as_bytes()),
            SourceKind::Authorization(scheme) => header::of_scheme(scheme, value),
            SourceKind::Query(_) | SourceKind::Cookie(_) => None,
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match &self.kind {
            SourceKind::Header(name) => Some(name.as_str()),
            SourceKind::Authorization(_) => None,
            SourceKind::Query(name) | SourceKind::Cookie(name) => Some(name),
        }
    }

    /// The header that responses vary on because of this source.
    pub(crate) fn header_name(&self) -> Option<&HeaderName> {
        match &self.kind {
            SourceKind::Header(name) => Some(name),
            SourceKind::Authorization(_) => Some(&AUTHORIZATION),
            SourceKind::Cookie(_) => Some(&COOKIE),
            SourceKind::Query(_) => None,
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

    #[inline]
    fn find<'r>(&self, head: &RequestHead<'r>) -> Found<'r> {
        match &self.kind {
            SourceKind::Header(name) => header::find(name, head.headers),
            SourceKind::Authorization(scheme) => header::find_scheme(scheme, head.headers),
            SourceKind::Query(name) => query::find(name, head.uri),
            SourceKind::Cookie(name) => cookie::find(name, head.headers),
        }
    }

    /// Gives all that this source holds to `found`.
    fn each<'r>(&self, head: &RequestHead<'r>, found: impl FnMut(Credential<'r>)) {
        let headers = head.headers;
        match &self.kind {
            SourceKind::Header(name) => {
                header::each(name, headers, |value| Some(value.as_bytes()), found);
            }
            SourceKind::Authorization(scheme) => {
                let read = |value| header::of_scheme(scheme, value);
                header::each(&AUTHORIZATION, headers, read, found);
            }
            SourceKind::Query(name) => query::each(name, head.uri, found),
            SourceKind::Cookie(name) => cookie::each(name, headers, found),
        }
    }
}

fn named(
    name: &str,
    family: &'static str,
    good: impl Fn(&str) -> bool,
) -> Result<Box<str>, ConfigError> {
    if good(name) { Ok(name.into()) } else { Err(ConfigError::SourceName { family }) }
}

/// A token of RFC 9110 §5.6.2: what schemes and cookie names are made of.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// How a request with more than one credential is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precedence {
    /// It is refused as ambiguous. Two credentials mean a mistake or an attempt to confuse:
    /// two components of the service could each act on another one.
    #[default]
    RefuseSeveral,
    /// The first configured source that has one decides alone, even when its key is not valid.
    ///
    /// Two credentials within one source are still refused: there is no order among them that
    /// intermediaries keep.
    FirstSource,
}

/// The content of one source.
pub(crate) enum Found<'r> {
    None,
    One(Credential<'r>),
    Several,
}

impl<'r> Found<'r> {
    /// All that a source holds.
    #[inline]
    fn all(credentials: impl Iterator<Item = Credential<'r>>) -> Self {
        credentials.fold(Self::None, Self::and)
    }

    /// Adds another credential of the same source.
    fn and(self, credential: Credential<'r>) -> Self {
        match self {
            Self::None => Self::One(credential),
            Self::One(_) | Self::Several => Self::Several,
        }
    }
}

/// A credential as it was sent, and where.
pub(crate) struct Credential<'r> {
    raw: &'r [u8],
    percent_encoded: bool,
    /// Index of the source among the configured ones; set by [`find`].
    pub(crate) source: u16,
}

/// Looks for the one credential in all sources.
#[inline]
pub(crate) fn find<'r>(
    sources: &[KeySource],
    precedence: Precedence,
    head: &RequestHead<'r>,
) -> Result<Option<Credential<'r>>, RejectionKind> {
    let mut only: Option<Credential<'r>> = None;
    for (index, source) in sources.iter().enumerate() {
        match source.find(head) {
            Found::None => {}
            Found::Several => return Err(RejectionKind::Ambiguous),
            Found::One(_) if only.is_some() => return Err(RejectionKind::Ambiguous),
            Found::One(mut credential) => {
                credential.source = u16::try_from(index).unwrap_or(u16::MAX);
                only = Some(credential);
                if precedence == Precedence::FirstSource {
                    break;
                }
            }
        }
    }
    Ok(only)
}

/// Whether the request may hold a credential in other sources than [plain](KeySource::is_plain) ones.
#[inline(never)]
pub(crate) fn may_hold_other_than_plain(sources: &[KeySource], head: &RequestHead<'_>) -> bool {
    sources.iter().filter(|source| !source.is_plain()).any(|source| match &source.kind {
        SourceKind::Query(name) => query::may_hold(name, head.uri),
        _ => source.header_name().is_some_and(|name| head.headers.contains_key(name)),
    })
}

/// Gives the one credential of a request to `judge`, and marks its header: as [`find`] with
/// [`RefuseSeveral`](Precedence::RefuseSeveral), and with one look at each header, where no header is
/// there twice and none but plain sources [may hold](may_hold_other_than_plain) a credential.
#[inline]
pub(crate) fn read_and_mark<T>(
    sources: &[KeySource],
    headers: &mut HeaderMap,
    judge: impl Fn(&[u8]) -> T,
) -> Result<Option<(u16, T)>, RejectionKind> {
    let mut only = None;
    for (index, source) in sources.iter().enumerate() {
        // Not `header_name` and `key_in`: with those, a request takes 39 instructions more.
        let value = match &source.kind {
            SourceKind::Header(name) => headers.get_mut(name),
            SourceKind::Authorization(_) => headers.get_mut(AUTHORIZATION),
            SourceKind::Query(_) | SourceKind::Cookie(_) => None,
        };
        let Some(value) = value else { continue };
        let key = match &source.kind {
            SourceKind::Authorization(scheme) => header::of_scheme(scheme, value),
            _ => Some(value.as_bytes()),
        };
        let Some(key) = key else { continue };
        if only.is_some() {
            return Err(RejectionKind::Ambiguous);
        }
        only = Some((u16::try_from(index).unwrap_or(u16::MAX), judge(key)));
        value.set_sensitive(true);
    }
    Ok(only)
}

/// Whether any source holds a credential, or several.
pub(crate) fn holds_any(sources: &[KeySource], head: &RequestHead<'_>) -> bool {
    sources.iter().any(|source| !matches!(source.find(head), Found::None))
}

impl<'r> Credential<'r> {
    /// One that stands there as it is.
    fn plain(raw: &'r [u8]) -> Self {
        Self { raw, percent_encoded: false, source: 0 }
    }

    /// Whether another site may have had a browser send this request, with this credential.
    #[inline]
    pub(crate) fn is_forced(&self, sources: &[KeySource], request: &RequestHead<'_>) -> bool {
        sources.get(usize::from(self.source)).is_some_and(KeySource::is_ambient)
            && cross_site::may_be_forced(request)
    }

    /// Gives the presented key to `judge`, with percent-encoding undone; the copy that takes is
    /// wiped. `None` when an escape is not valid.
    #[inline]
    pub(crate) fn with_key<T>(&self, judge: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if self.percent_encoded {
            return Some(judge(&Zeroizing::new(query::percent_decode(self.raw)?)));
        }
        Some(judge(self.raw))
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential(.. in source {})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const NAMES: [&str; 5] = ["x-api-key", "authorization", "x-other-key", "accept", "cookie"];
    const VALUES: [&str; 6] =
        ["", "key=a-key", "Bearer a-key", "bearer  b-key", "Token c-key", "Bearer"];
    const QUERIES: [&str; 7] =
        ["", "?", "?key=", "?a=1&k%65y=q-%6Bey", "?key=q&key=r", "?key=%zz", "?keys=q&ke=r"];

    fn sources() -> Vec<KeySource> {
        let some = [
            KeySource::header("x-other-key"),
            KeySource::scheme("Token"),
            KeySource::scheme("Basic"),
            KeySource::query("key"),
            KeySource::cookie("key"),
        ];
        let all = [KeySource::x_api_key(), KeySource::bearer()].map(Ok).into_iter().chain(some);
        all.collect::<Result<_, _>>().unwrap()
    }

    proptest! {
        #[test]
        fn reading_in_passing_finds_the_same(
            headers in vec((select(&NAMES[..]), select(&VALUES[..])), 0..5),
            query in select(&QUERIES[..]),
            some in vec(any::<bool>(), 7),
        ) {
            let mut request = Request::new(());
            *request.uri_mut() = format!("/{query}").parse().unwrap();
            for (name, value) in headers {
                request.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let some = sources().into_iter().zip(some).filter(|(_, is_there)| *is_there);
            let sources: Vec<KeySource> = some.map(|(source, _)| source).collect();
            let head = RequestHead::from(&request);
            if may_hold_other_than_plain(&sources, &head) {
                return Ok(());
            }
            let found = find(&sources, Precedence::RefuseSeveral, &head).map(|found| {
                found.map(|found| (found.source, found.raw.to_vec()))
            });
            let in_passing = read_and_mark(&sources, request.headers_mut(), <[u8]>::to_vec);
            prop_assert_eq!(&found, &in_passing);
            if let Ok(Some((source, _))) = in_passing {
                let name = sources[usize::from(source)].header_name();
                let marked = request.headers().iter().filter(|(_, value)| value.is_sensitive());
                prop_assert!(marked.map(|(name, _)| name).eq(name));
            }
        }
    }

    #[test]
    fn other_sources_than_plain_ones_are_read_apart() {
        for (source, name, value) in [
            (KeySource::scheme("Basic").unwrap(), "authorization", "Bearer a-key"),
            (KeySource::header("cookie").unwrap(), "cookie", "a=b"),
            (KeySource::cookie("key").unwrap(), "cookie", "a=b"),
        ] {
            let (sources, mut request) = ([source], Request::new(()));
            assert!(!may_hold_other_than_plain(&sources, &RequestHead::from(&request)));
            request.headers_mut().insert(name, HeaderValue::from_static(value));
            assert!(may_hold_other_than_plain(&sources, &RequestHead::from(&request)));
        }
        for (query, may_hold) in
            QUERIES.into_iter().zip([false, false, true, true, true, true, true])
        {
            let (sources, mut request) = ([KeySource::query("key").unwrap()], Request::new(()));
            *request.uri_mut() = format!("/{query}").parse().unwrap();
            let head = RequestHead::from(&request);
            assert_eq!(may_hold_other_than_plain(&sources, &head), may_hold, "{query}");
        }
    }
}
