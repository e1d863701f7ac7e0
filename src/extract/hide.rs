//! Taking a credential out of a request, and only it: every other byte stays as it was sent.

use std::ops::Range;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, COOKIE, Entry},
    uri::PathAndQuery,
};

use super::{KeySource, Place, SourceKind};

/// Marks the header that holds the credential, so that `Debug` does not print it and HTTP/2
/// does not put it into a compression table when the request is forwarded (RFC 7541 §7.1.3).
#[inline]
pub(crate) fn mark_sensitive(place: Place, sources: &[KeySource], headers: &mut HeaderMap) {
    let Some(name) = place.source(sources).and_then(KeySource::header_name) else {
        return;
    };
    if headers.len() == headers.keys_len() {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    } else if let Entry::Occupied(mut values) = headers.entry(name) {
        values.iter_mut().for_each(|value| value.set_sensitive(true));
    }
}

/// Takes the credential out of the headers or the query.
pub(crate) fn hide(place: Place, sources: &[KeySource], headers: &mut HeaderMap, uri: &mut Uri) {
    let Some(source) = place.source(sources) else { return };
    match source.kind() {
        SourceKind::Header(name) => replace_value(headers, name, place.index(), None),
        SourceKind::Authorization(_) => replace_value(headers, &AUTHORIZATION, place.index(), None),
        SourceKind::Cookie(_) => {
            let line = headers.get_all(COOKIE).iter().nth(place.index());
            let rest = line.and_then(|line| without_cookie(line, &place.bytes()));
            replace_value(headers, &COOKIE, place.index(), rest);
        }
        SourceKind::Query(_) => hide_query_pair(uri, &place.bytes()),
    }
}

/// Puts `new` in place of the `index`th value of `name`, or nothing. The others keep their order.
fn replace_value(
    headers: &mut HeaderMap,
    name: &HeaderName,
    index: usize,
    new: Option<HeaderValue>,
) {
    let mut new = Some(new);
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .enumerate()
        .filter_map(|(i, value)| if i == index { new.take()? } else { Some(value.clone()) })
        .collect();
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

/// The line without the pair at `bytes` and one of the separators beside it; `None` when nothing
/// is left.
fn without_cookie(line: &HeaderValue, bytes: &Range<usize>) -> Option<HeaderValue> {
    let line_bytes = line.as_bytes();
    let rest = match (line_bytes.get(..bytes.start)?, line_bytes.get(bytes.end..)?) {
        // `; ` went with the pair: the pair starts after the `;` and holds the space.
        ([before @ .., b';'], after) => [before, after].concat(),
        // The first pair: the separator after it goes, and the space that follows.
        (_, [b';', after @ ..]) => after.trim_ascii_start().to_vec(),
        _ => return None,
    };
    let mut rest = HeaderValue::from_bytes(&rest).ok()?;
    rest.set_sensitive(line.is_sensitive());
    Some(rest)
}

fn hide_query_pair(uri: &mut Uri, bytes: &Range<usize>) {
    let Some(query) = uri.query() else { return };
    let (Some(before), Some(after)) = (query.get(..bytes.start), query.get(bytes.end..)) else {
        return;
    };
    let rest = match (before.strip_suffix('&'), after.strip_prefix('&')) {
        (Some(before), _) => format!("?{before}{after}"),
        (None, Some(after)) => format!("?{after}"),
        (None, None) => String::new(),
    };
    // Parts of a valid URI in their old order make a valid one; were that not so, an empty query
    // hides the key as well.
    let path_and_query = PathAndQuery::try_from(format!("{}{rest}", uri.path()))
        .or_else(|_| PathAndQuery::try_from(uri.path()));
    let mut parts = uri.clone().into_parts();
    if let Ok(path_and_query) = path_and_query {
        parts.path_and_query = Some(path_and_query);
        if let Ok(hidden) = Uri::from_parts(parts) {
            *uri = hidden;
        }
    }
}
