//! Keys as the user name of `Authorization: Basic` (RFC 7617), without a password.

use zeroize::Zeroizing;

pub(super) const SCHEME: &str = "Basic";

/// Gives the user name of a credential to `judge`; the copy that takes is wiped. `None` if it is not
/// `base64(name ":")`.
pub(super) fn with_user_name<T>(credential: &[u8], judge: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let decoded = decode(credential)?;
    let (name, password) = decoded.split_at(decoded.iter().position(|byte| *byte == b':')?);
    // More than the colon is a password, which nothing would look at.
    (password.len() == 1).then(|| judge(name))
}

/// The same with a password, or without a colon.
pub(super) fn with_name<T>(credential: &[u8], judge: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let decoded = decode(credential)?;
    Some(judge(decoded.split(|byte| *byte == b':').next().unwrap_or_default()))
}

/// Undoes base64 (RFC 4648 §4), in its one canonical form: padded, and with no bits left over.
fn decode(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let padding = encoded.iter().rev().take_while(|byte| **byte == b'=').count();
    if !encoded.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    // Never grows, and so leaves no copy of a key behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(encoded.len() / 4 * 3));
    for group in encoded[..encoded.len() - padding].chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | sextet(*byte)?;
        }
        // Of 24 bits, those of the characters that are not there are zero.
        bits <<= 6 * (4 - group.len());
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (some, none) = bytes.split_at(group.len() * 6 / 8);
        if none.iter().any(|byte| *byte != 0) {
            return None;
        }
        decoded.extend_from_slice(some);
    }
    Some(decoded)
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_vectors_of_the_standard() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{fb}\u{ff}", "w7vDvw=="),
            (">>>", "Pj4+"),
            ("???", "Pz8/"),
        ] {
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(&text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn refuses_every_other_way_to_write_a_text() {
        for encoded in [
            "Zg", "Zg=", "Zg===", "Z", "Z===", "====", "=", "Zh==", "Zm9=", "Zm8==", "Zg==Zg==",
            "Zm9v\n", " Zm9v", "Zm-_", "Zm 9", "Zm=v",
        ] {
            assert_eq!(decode(encoded.as_bytes()), None, "{encoded:?}");
        }
    }

    #[test]
    fn a_password_is_no_part_of_a_key() {
        let user_name = |encoded: &str| with_user_name(encoded.as_bytes(), <[u8]>::to_vec);
        // `a:`, `:`, and then `a:b`, `a::`, `a`, and nothing.
        assert_eq!(user_name("YTo=").as_deref(), Some(&b"a"[..]));
        assert_eq!(user_name("Og==").as_deref(), Some(&b""[..]));
        for encoded in ["YTpi", "YTo6", "YQ==", ""] {
            assert_eq!(user_name(encoded), None, "{encoded}");
        }
    }
}
