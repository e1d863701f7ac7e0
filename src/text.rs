//! [`Text`], serde for the types whose only serialised form is their text, and the encodings of bytes as
//! text: hexadecimal, percent-encoding and base64.

use std::{
    fmt::{self, Write},
    ops::Deref,
    str::FromStr,
};

use smol_str::SmolStr;

/// Implements `Serialize` through `Display` and `Deserialize` through `FromStr`.
macro_rules! serde_as_text {
    ($type:ty, $expecting:literal) => {
        impl serde_core::Serialize for $type {
            fn serialize<S: serde_core::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde_core::Deserialize<'de> for $type {
            fn deserialize<D: serde_core::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                struct FromText;
                impl serde_core::de::Visitor<'_> for FromText {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde_core::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(FromText)
            }
        }
    };
}

pub(crate) use serde_as_text;

/// Two lower-case digits for each byte.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that these digits stand for, in either case; `None` where there are more or fewer bytes,
/// or something else than digits.
pub(crate) fn from_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut read = 0;
    for (byte, value) in bytes.iter_mut().zip(hex_bytes(text)) {
        *byte = value?;
        read += 1;
    }
    (read == BYTES && text.len() == 2 * BYTES).then_some(bytes)
}

/// The text that these digits stand for; `None` where they stand for none.
pub(crate) fn text_from_hex(text: &str) -> Option<String> {
    String::from_utf8(hex_bytes(text).collect::<Option<_>>()?).ok()
}

/// The byte of each two digits, and `None` for what is no digit or has none beside it.
fn hex_bytes(text: &str) -> impl Iterator<Item = Option<u8>> {
    text.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some(hex_digit(high)? << 4 | hex_digit(low)?),
        _ => None,
    })
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Percent-encodes all bytes but plain ones (RFC 3986 §2.1). What is plain, the use decides.
pub(crate) fn percent_encode(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Undoes percent-encoding (RFC 3986 §2.1); `None` when a `%` is not followed by two hexadecimal
/// digits. `+` stays as it is.
pub(crate) fn percent_decode(encoded: &[u8]) -> Option<Vec<u8>> {
    // Never longer than the input, so it does not grow and leave copies of a key behind.
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    Some(decoded)
}

/// Base64 without padding (RFC 4648 §§3.2, 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        // One byte is two characters, two are three, and three are four.
        for place in 0..=group.len() {
            let index = bits >> (18 - 6 * place) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// A text that is never changed in place: a name, an owner, the start of a key.
///
/// Up to 23 bytes are kept in the value itself, which is 24 bytes large and takes no memory
/// elsewhere; longer ones are shared by all clones. Reads like a `str`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(SmolStr);

impl Text {
    /// The text itself.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self(text.into())
    }
}

impl From<Box<str>> for Text {
    fn from(text: Box<str>) -> Self {
        Self(text.into())
    }
}

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

serde_as_text!(Text, "a text");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_as_the_standard_has_it() {
        // RFC 4648 §10, without the padding.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn digits_are_lower_case_and_read_in_either() {
        assert_eq!(hex([0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(from_hex("009AfF"), Some([0x00, 0x9a, 0xff]));
        for bad in ["", "009aff00", "009af", "009afg", "+09aff", "0x9aff", "009a\u{17f}"] {
            assert_eq!(from_hex::<3>(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn bytes_are_read_back(bytes: [u8; 16]) {
            prop_assert_eq!(from_hex(&hex(bytes)), Some(bytes));
        }
    }
}
