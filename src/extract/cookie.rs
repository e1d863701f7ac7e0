//! Keys in cookies (RFC 6265 §4.2). HTTP/2 clients may split cookies over several header lines
//! (RFC 9113 §8.2.3).

use http::{HeaderMap, header::COOKIE};

use super::{Credential, Found, Place};

pub(super) fn find<'r>(name: &str, headers: &'r HeaderMap) -> Found<'r> {
    let mut found = Found::None;
    for (index, line) in headers.get_all(COOKIE).iter().enumerate() {
        let line = line.as_bytes();
        let mut start = 0;
        for pair in line.split(|byte| *byte == b';') {
            let bytes = start..start + pair.len();
            start = bytes.end + 1;
            let mut halves = pair.trim_ascii().splitn(2, |byte| *byte == b'=');
            // A piece without `=` is a value without a name, and not ours.
            if let (Some(pair_name), Some(value)) = (halves.next(), halves.next())
                && pair_name.trim_ascii_end() == name.as_bytes()
            {
                found = found.and(Credential {
                    raw: unquoted(value.trim_ascii_start()),
                    percent_encoded: false,
                    place: Place::value(index).with_bytes(&bytes),
                });
            }
        }
    }
    found
}

/// A cookie's value may stand in double quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}
