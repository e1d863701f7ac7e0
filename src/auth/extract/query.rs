//! Keys in the query: `?name=key` among other pairs (the WHATWG form encoding, without `+`).

use http::Uri;

use super::{Credential, Encoding, Found};
use crate::text::percent_decode;

#[inline]
pub(super) fn find<'r>(name: &str, uri: &'r Uri) -> Found<'r> {
    // Most requests have none.
    uri.query().map_or(Found::None, |query| Found::all(in_query(name, query)))
}

/// Whether there may be one: far cheaper than to find it, and nearly always there is none.
#[inline]
pub(super) fn may_hold(name: &str, uri: &Uri) -> bool {
    let (query, name) = (uri.query().unwrap_or_default().as_bytes(), name.as_bytes());
    let mut begins_pair = true;
    query.iter().enumerate().any(|(place, byte)| {
        let begins = std::mem::replace(&mut begins_pair, *byte == b'&');
        *byte == b'%' || (begins && Some(byte) == name.first() && query[place..].starts_with(name))
    })
}

pub(super) fn each<'r>(name: &str, uri: &'r Uri, found: impl FnMut(Credential<'r>)) {
    in_query(name, uri.query().unwrap_or_default()).for_each(found);
}

fn in_query<'q>(name: &str, query: &'q str) -> impl Iterator<Item = Credential<'q>> {
    query.as_bytes().split(|byte| *byte == b'&').filter_map(move |pair| value(name, pair))
}

/// The value of a pair, if its name is `name`.
pub(super) fn value<'p>(name: &str, pair: &'p [u8]) -> Option<Credential<'p>> {
    // A pair's name ends at its first `=`: one that has such a sign is there only encoded.
    let rest = pair.strip_prefix(name.as_bytes()).filter(|_| !name.contains('='));
    let raw = match rest {
        Some([]) => &[],
        Some([b'=', raw @ ..]) => raw,
        _ if pair.contains(&b'%') => value_of_encoded(name, pair)?,
        _ => return None,
    };
    let encoding = if raw.contains(&b'%') { Encoding::Percent } else { Encoding::None };
    Some(Credential { encoding, ..Credential::plain(raw) })
}

/// Compares with percent-encoding undone: whatever reads the query behind the layer would see
/// `api%5Fkey` as `api_key`, and so must we.
#[cold]
fn value_of_encoded<'p>(name: &str, pair: &'p [u8]) -> Option<&'p [u8]> {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    let decoded = percent_decode(halves.next()?)?;
    (decoded == name.as_bytes()).then(|| halves.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_the_first_equals_sign() {
        for (name, pair, expected) in [
            ("key", "key=a=b", Some("a=b")),
            ("key", "key", Some("")),
            ("key", "keys=a", None),
            ("key", "k%65y=a", Some("a")),
            ("a=b", "a=b=key", None),
            ("a=b", "a=b", None),
            ("a=b", "a%3Db=key", Some("key")),
        ] {
            let found = value(name, pair.as_bytes()).map(|credential| credential.raw);
            assert_eq!(found, expected.map(str::as_bytes), "{name} in {pair}");
        }
    }
}
