//! The values of identity headers, percent-encoded.

use http::HeaderValue;

use crate::{key::Scopes, text::percent_encode};

/// A text of the application's, as one word.
pub(super) fn text(text: &str) -> HeaderValue {
    value(percent_encode(text, is_plain))
}

/// The scopes, with a space between.
pub(super) fn scopes(scopes: &Scopes) -> HeaderValue {
    let encoded: Vec<_> = scopes.iter().map(|scope| percent_encode(scope, is_plain)).collect();
    value(encoded.join(" "))
}

/// What is not encoded: the unreserved characters of RFC 3986 §2.3, and of the reserved ones those that
/// scopes are made of and that separate nothing in a header.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b'*')
}

/// Encoded, every text is visible ASCII and spaces.
fn value(encoded: String) -> HeaderValue {
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_nothing_that_separates() {
        for (plain, encoded) in [
            ("user-1", "user-1"),
            ("", ""),
            ("a b", "a%20b"),
            ("Zoë\r\n", "Zo%C3%AB%0D%0A"),
            ("100%,\"x\";y", "100%25%2C%22x%22%3By"),
            ("a+b@c", "a%2Bb%40c"),
        ] {
            assert_eq!(text(plain), encoded, "{plain:?}");
        }
        let some = Scopes::parse(["orders:*", "a%20b", "x,y", "z"]).unwrap();
        assert_eq!(scopes(&some), "a%2520b orders:* x%2Cy z");
        assert_eq!(scopes(&Scopes::default()), "");
    }
}
