//! Keys in cookies (RFC 6265 §4.2). HTTP/2 clients may split cookies over several header lines
//! (RFC 9113 §8.2.3).

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::Credential;

pub(super) fn each<'r>(name: &str, headers: &'r HeaderMap, found: impl FnMut(Credential<'r>)) {
    in_headers(name, headers).for_each(found);
}

fn in_headers<'h>(name: &str, headers: &'h HeaderMap) -> impl Iterator<Item = Credential<'h>> {
    let pieces = |line: &'h HeaderValue| line.as_bytes().split(|byte| *byte == b';');
    let values = headers.get_all(COOKIE).iter().flat_map(pieces);
    values.filter_map(move |piece| value(name, piece)).map(Credential::plain)
}

/// The value in a piece of a line, if it is of the cookie `name`.
pub(super) fn value<'p>(name: &str, piece: &'p [u8]) -> Option<&'p [u8]> {
    let mut halves = piece.trim_ascii().splitn(2, |byte| *byte == b'=');
    // A piece without `=` is a value without a name, and not ours.
    let (found, value) = (halves.next()?, halves.next()?);
    (found.trim_ascii_end() == name.as_bytes()).then(|| unquoted(value.trim_ascii_start()))
}

/// A cookie's value may stand in double quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}
