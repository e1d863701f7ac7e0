//! Keys in the query: `?name=key` among other pairs (the WHATWG form encoding, without `+`).

use http::Uri;

use super::Credential;

pub(super) fn each<'r>(name: &str, uri: &'r Uri, found: impl FnMut(Credential<'r>)) {
    let query = uri.query().unwrap_or("").as_bytes();
    let pairs = query.split(|byte| *byte == b'&');
    pairs.filter_map(|pair| value(name, pair)).for_each(found);
}

/// The value of a pair, if its name is `name`.
pub(super) fn value<'p>(name: &str, pair: &'p [u8]) -> Option<Credential<'p>> {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    if !is_named(halves.next()?, name) {
        return None;
    }
    let raw = halves.next().unwrap_or_default();
    Some(Credential { percent_encoded: raw.contains(&b'%'), ..Credential::plain(raw) })
}

/// Compares with percent-encoding undone: whatever reads the query behind the layer would see
/// `api%5Fkey` as `api_key`, and so must we.
fn is_named(encoded: &[u8], name: &str) -> bool {
    if encoded.contains(&b'%') {
        percent_decode(encoded).is_some_and(|decoded| decoded == name.as_bytes())
    } else {
        encoded == name.as_bytes()
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1); `None` when a `%` is not followed by two hexadecimal
/// digits. `+` stays as it is: a key never holds a space, but a base64 key may hold a `+`.
pub(super) fn percent_decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    // Never longer than the input, so it does not grow and leave copies of a key behind.
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    Some(decoded)
}
