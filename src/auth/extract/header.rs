//! Keys in headers: a whole value, or what follows a scheme in one.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Credential, Found};
use crate::request::have_no_repeats;

#[inline]
pub(super) fn find<'r>(name: &HeaderName, headers: &'r HeaderMap) -> Found<'r> {
    find_in(name, headers, |header| Some(value(header)))
}

#[inline]
pub(super) fn find_scheme<'r>(
    name: &HeaderName,
    scheme: &str,
    headers: &'r HeaderMap,
) -> Found<'r> {
    find_in(name, headers, |value| of_scheme(scheme, value))
}

#[inline]
fn find_in<'r>(
    name: &HeaderName,
    headers: &'r HeaderMap,
    read: impl Fn(&'r HeaderValue) -> Option<&'r [u8]>,
) -> Found<'r> {
    // Then the iterator over all values is not needed.
    if have_no_repeats(headers) {
        return match headers.get(name).and_then(read) {
            Some(raw) => Found::One(Credential::plain(raw)),
            None => Found::None,
        };
    }
    let values = headers.get_all(name).iter().filter_map(read);
    Found::all(values.map(Credential::plain))
}

pub(super) fn each<'r>(
    name: &HeaderName,
    headers: &'r HeaderMap,
    read: impl Fn(&'r HeaderValue) -> Option<&'r [u8]>,
    found: impl FnMut(Credential<'r>),
) {
    headers.get_all(name).iter().filter_map(read).map(Credential::plain).for_each(found);
}

/// The value without the white space around it, which is no part of it (RFC 9110 §5.5): over HTTP/1 the
/// server takes it away, and over HTTP/2 it may be there.
#[inline]
pub(super) fn value(header: &HeaderValue) -> &[u8] {
    match header.as_bytes() {
        // Nearly all are like that, and this is the cheapest look.
        value @ [b'!'..=0xff, .., b'!'..=0xff] => value,
        value => trimmed(value),
    }
}

#[cold]
fn trimmed(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// `<scheme> 1*SP <key>`; the scheme compares case-insensitively (RFC 9110 §11.1). Values of
/// other schemes belong to other systems. The scheme alone is a credential, and an empty one.
#[inline]
pub(super) fn of_scheme<'v>(scheme: &str, value: &'v HeaderValue) -> Option<&'v [u8]> {
    let (start, rest) = self::value(value).split_at_checked(scheme.len())?;
    let ours = start.eq_ignore_ascii_case(scheme.as_bytes())
        && rest.first().is_none_or(|separator| *separator == b' ');
    ours.then(|| rest.trim_ascii_start())
}
