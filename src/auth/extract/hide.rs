//! Taking keys out of a request, and only them: every other byte stays as it was sent.

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, COOKIE, Entry},
    uri::PathAndQuery,
};

use super::{Credential, KeySource, SourceKind, basic, cookie, header, path, query};
use crate::{
    key::{self, KeyFormat},
    request::{RequestHead, have_no_repeats},
};

/// Which credentials are keys of ours.
pub(crate) struct Ours<'k> {
    /// A prefixed format tells by its shape, whichever layer judged the request. An opaque one has
    /// none.
    pub(crate) formats: &'k [KeyFormat],
    /// The key that the request was judged by, if it was.
    pub(crate) judged: Option<&'k [u8]>,
}

impl Ours<'_> {
    fn hold(&self, credential: &Credential<'_>) -> bool {
        // The request is compared with itself here, so the time that it takes tells nothing.
        let is_ours = |key: &[u8]| self.judged == Some(key) || key::is_prefixed(self.formats, key);
        credential.with_key(is_ours).unwrap_or(false)
    }
}

/// Marks the header that a source reads, so that `Debug` does not print it and HTTP/2 does not put
/// it into a compression table when the request is forwarded (RFC 7541 §7.1.3).
#[inline]
pub(crate) fn mark_sensitive(source: &KeySource, headers: &mut HeaderMap) {
    let Some(name) = source.header_name() else { return };
    if have_no_repeats(headers) {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    } else if let Entry::Occupied(mut values) = headers.entry(name) {
        values.iter_mut().for_each(|value| value.set_sensitive(true));
    }
}

/// Marks the headers in which a source finds a key of ours.
pub(crate) fn mark_ours<B>(ours: &Ours<'_>, sources: &[KeySource], request: &mut Request<B>) {
    for source in sources {
        let mut found = false;
        source.each(&RequestHead::from(&*request), |credential| found |= ours.hold(&credential));
        if found {
            mark_sensitive(source, request.headers_mut());
        }
    }
}

/// A header that was taken out of a request.
pub(crate) struct Taken<'s>(HeaderValue, &'s KeySource);

impl Taken<'_> {
    /// The key in it.
    pub(crate) fn key(&self) -> &[u8] {
        self.1.key_in(&self.0).unwrap_or_default()
    }
}

/// Takes out the header of a source, if the source is one and no header is there twice.
pub(crate) fn take_header<'s>(source: &'s KeySource, headers: &mut HeaderMap) -> Option<Taken<'s>> {
    let name = source.header_name().filter(|_| source.is_header() && have_no_repeats(headers))?;
    headers.remove(name).map(|value| Taken(value, source))
}

/// Takes keys of ours out of the copy of the target that axum keeps for handlers: it may hold what a
/// layer outside has taken out of the target itself.
pub(crate) fn hide_in_copies<B>(ours: &Ours<'_>, sources: &[KeySource], request: &mut Request<B>) {
    #[cfg(not(feature = "axum"))]
    let _ = (ours, sources, request);
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions_mut().get_mut::<axum::extract::OriginalUri>() {
        for source in sources {
            match source.kind() {
                SourceKind::Query(name) => hide_pairs(ours, name, &mut original.0),
                SourceKind::PathSegment(prefix) => hide_segment(ours, prefix, &mut original.0),
                _ => {}
            }
        }
    }
}

/// Takes out of the request what a source would find that is a key of ours.
pub(crate) fn hide<B>(ours: &Ours<'_>, sources: &[KeySource], request: &mut Request<B>) {
    for source in sources {
        match source.kind() {
            SourceKind::Header(name) => {
                hide_values(ours, name, request, |value| {
                    Some(Credential::plain(header::value(value)))
                });
            }
            SourceKind::Scheme { header: name, scheme } => {
                hide_values(ours, name, request, |value| {
                    header::of_scheme(scheme, value).map(Credential::plain)
                });
            }
            SourceKind::Basic => hide_values(ours, &AUTHORIZATION, request, |value| {
                header::of_scheme(basic::SCHEME, value).map(|raw| Credential::plain(raw).of_basic())
            }),
            SourceKind::Cookie(name) => {
                edit(request.headers_mut(), &COOKIE, |line| without_cookies(ours, name, line));
            }
            SourceKind::Query(name) => hide_pairs(ours, name, request.uri_mut()),
            SourceKind::PathSegment(prefix) => hide_segment(ours, prefix, request.uri_mut()),
            // Whether or not keys are hidden, see `take_websocket_keys`.
            SourceKind::WebSocketProtocol(_) => {}
            SourceKind::Custom(custom) => {
                custom.hide(request, &|key| ours.hold(&Credential::plain(key)));
            }
        }
    }
    hide_in_copies(ours, sources, request);
}

/// Takes out the values of a header that hold a key of ours.
fn hide_values<B>(
    ours: &Ours<'_>,
    name: &HeaderName,
    request: &mut Request<B>,
    read: impl Fn(&HeaderValue) -> Option<Credential<'_>>,
) {
    edit(request.headers_mut(), name, |value| {
        let is_ours = read(value).is_some_and(|credential| ours.hold(&credential));
        if is_ours { Edit::Remove } else { Edit::Keep }
    });
}

/// What becomes of a value.
enum Edit {
    Keep,
    Remove,
    Replace(HeaderValue),
}

/// Edits the values of `name`. Those that stay keep their order.
fn edit(headers: &mut HeaderMap, name: &HeaderName, edit: impl Fn(&HeaderValue) -> Edit) {
    let edits: Vec<Edit> = headers.get_all(name).iter().map(edit).collect();
    if edits.iter().all(|edit| matches!(edit, Edit::Keep)) {
        return;
    }
    let Entry::Occupied(values) = headers.entry(name) else { return };
    let (_, values) = values.remove_entry_mult();
    let edited = values.zip(edits).filter_map(|(value, edit)| match edit {
        Edit::Keep => Some(value),
        Edit::Remove => None,
        Edit::Replace(new) => Some(new),
    });
    for value in edited.collect::<Vec<_>>() {
        headers.append(name, value);
    }
}

/// The line without the cookies `name` that hold a key of ours, each with one separator.
fn without_cookies(ours: &Ours<'_>, name: &str, line: &HeaderValue) -> Edit {
    let is_ours = |piece: &&[u8]| {
        cookie::value(name, piece).is_some_and(|value| ours.hold(&Credential::plain(value)))
    };
    let pieces = || line.as_bytes().split(|byte| *byte == b';');
    if !pieces().any(|piece| is_ours(&piece)) {
        return Edit::Keep;
    }
    let is_first = pieces().next().is_some_and(|piece| is_ours(&piece));
    let others: Vec<&[u8]> = pieces().filter(|piece| !is_ours(piece)).collect();
    if others.is_empty() {
        return Edit::Remove;
    }
    let rest = others.join(&b';');
    // The space after a `;` belongs to what follows it, and a line starts without one.
    let rest = if is_first { rest.trim_ascii_start() } else { &rest };
    match HeaderValue::from_bytes(rest) {
        Ok(mut rest) => {
            rest.set_sensitive(line.is_sensitive());
            Edit::Replace(rest)
        }
        Err(_) => Edit::Remove,
    }
}

/// Takes the pairs `name` that hold a key of ours out of the query, each with one separator.
fn hide_pairs(ours: &Ours<'_>, name: &str, uri: &mut Uri) {
    let Some(query) = uri.query() else { return };
    let is_ours = |pair: &&str| {
        query::value(name, pair.as_bytes()).is_some_and(|credential| ours.hold(&credential))
    };
    if !query.split('&').any(|pair| is_ours(&pair)) {
        return;
    }
    let others: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair)).collect();
    let rest = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    let path = uri.path().to_owned();
    set_path_and_query(uri, &format!("{path}{rest}"), &path);
}

/// Takes the segment after the prefix out of the path, if it is a key of ours.
fn hide_segment(ours: &Ours<'_>, prefix: &str, uri: &mut Uri) {
    if !path::find(prefix, uri).is_some_and(|credential| ours.hold(&credential)) {
        return;
    }
    let Some(path) = path::without_key(prefix, uri.path()) else { return };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    set_path_and_query(uri, &format!("{path}{query}"), "/");
}

/// Parts of a valid URI in their old order make a valid one; were that not so, the `shorter` one hides the
/// key as well.
fn set_path_and_query(uri: &mut Uri, path_and_query: &str, shorter: &str) {
    let path_and_query =
        PathAndQuery::try_from(path_and_query).or_else(|_| PathAndQuery::try_from(shorter));
    let mut parts = uri.clone().into_parts();
    if let Ok(path_and_query) = path_and_query {
        parts.path_and_query = Some(path_and_query);
        if let Ok(hidden) = Uri::from_parts(parts) {
            *uri = hidden;
        }
    }
}
