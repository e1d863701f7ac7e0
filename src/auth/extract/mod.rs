//! Where keys are looked for, and how several of them are told apart.

mod basic;
mod cookie;
mod cross_site;
mod custom;
mod header;
mod hide;
mod path;
mod query;
mod source;
mod websocket;

use std::fmt;

use http::HeaderMap;
use zeroize::Zeroizing;

pub use self::{
    custom::{CustomSource, HiddenPlaces},
    source::KeySource,
};
pub(crate) use self::{
    hide::{Ours, hide, hide_in_copies, mark_ours, mark_sensitive, take_header},
    source::SourceKind,
    websocket::{Subprotocol, take_websocket_keys},
};
use crate::{key::RejectionKind, request::RequestHead, text::percent_decode};

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
    encoding: Encoding,
    /// Index of the source among the configured ones; set by [`find`].
    pub(crate) source: u16,
}

/// How a key is written in a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// As it is.
    None,
    /// With percent-encoding.
    Percent,
    /// As the user name of `Basic`.
    Basic,
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
    sources.iter().any(|source| !source.is_plain() && source.may_hold(head))
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
        let value = match source.kind() {
            SourceKind::Header(name) | SourceKind::Scheme { header: name, .. } => {
                headers.get_mut(name)
            }
            _ => None,
        };
        let Some(value) = value else { continue };
        let key = match source.kind() {
            SourceKind::Scheme { scheme, .. } => header::of_scheme(scheme, value),
            _ => Some(header::value(value)),
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
        Self { raw, encoding: Encoding::None, source: 0 }
    }

    fn of_basic(self) -> Self {
        Self { encoding: Encoding::Basic, ..self }
    }

    /// Whether another site may have had a browser send this request, with this credential.
    #[inline]
    pub(crate) fn is_forced(&self, sources: &[KeySource], request: &RequestHead<'_>) -> bool {
        sources.get(usize::from(self.source)).is_some_and(KeySource::is_ambient)
            && cross_site::may_be_forced(request)
    }

    /// Gives the presented key to `judge`, with its encoding undone; the copy that takes is
    /// wiped. `None` when it is not encoded as it should be.
    #[inline]
    pub(crate) fn with_key<T>(&self, judge: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match self.encoding {
            Encoding::None => Some(judge(self.raw)),
            Encoding::Percent => Some(judge(&Zeroizing::new(percent_decode(self.raw)?))),
            Encoding::Basic => basic::with_user_name(self.raw, judge),
        }
    }
}

impl Credential<'_> {
    /// Whether the presented key is like that, also if it is not encoded as it should be.
    fn is_like(&self, is: impl Fn(&[u8]) -> bool) -> bool {
        match self.encoding {
            Encoding::None => is(self.raw),
            Encoding::Percent => is(self.raw) || self.with_key(is).unwrap_or(false),
            Encoding::Basic => basic::with_name(self.raw, is).unwrap_or(false),
        }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential(.. in source {})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const NAMES: [&str; 5] = ["x-api-key", "authorization", "x-other-key", "accept", "cookie"];
    const VALUES: [&str; 8] = [
        "",
        "key=a-key",
        "Bearer a-key",
        "bearer  b-key",
        "Token c-key ",
        "Bearer",
        "Basic YS1rZXk6",
        " a-key\t",
    ];
    const QUERIES: [&str; 7] =
        ["", "?", "?key=", "?a=1&k%65y=q-%6Bey", "?key=q&key=r", "?key=%zz", "?keys=q&ke=r"];

    fn sources() -> Vec<KeySource> {
        let some = [
            KeySource::header("x-other-key"),
            KeySource::header_scheme("authorization", "Token"),
            KeySource::header_scheme("x-other-key", "Token"),
            Ok(KeySource::basic()),
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
            some in vec(any::<bool>(), 8),
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
            (KeySource::basic(), "authorization", "Bearer a-key"),
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
