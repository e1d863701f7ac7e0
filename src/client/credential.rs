//! [`Credential`]: a key in the forms in which it is sent.

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::key::{KeyDigest, KeyFormat, KeyHasher};

/// The lengths that keys have, as those of an opaque format.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=4096;

const SCHEME: &[u8] = b"Bearer ";

/// A key in the forms in which it is sent, marked sensitive. Its memory is wiped once the last request
/// with it is gone.
#[derive(Clone)]
pub(super) struct Credential {
    bare: HeaderValue,
    bearer: HeaderValue,
    digest: KeyDigest,
}

/// The reason for which a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    Empty,
    NotAKey,
}

impl Credential {
    /// The key in a text, without the white space around it.
    pub(super) fn read(text: &[u8]) -> Result<Self, NoKey> {
        let key = text.trim_ascii();
        if key.is_empty() {
            return Err(NoKey::Empty);
        }
        if !LENGTHS.contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            return Err(NoKey::NotAKey);
        }
        let mut sent = Zeroizing::new(Vec::with_capacity(SCHEME.len() + key.len()));
        sent.extend_from_slice(SCHEME);
        sent.extend_from_slice(key);
        let bearer = Bytes::from_owner(sent);
        Ok(Self {
            bare: sensitive(bearer.slice(SCHEME.len()..))?,
            bearer: sensitive(bearer)?,
            digest: digest(key),
        })
    }

    pub(super) fn has(&self, format: &KeyFormat) -> bool {
        self.bare.to_str().is_ok_and(|key| format.recognizes(key))
    }

    /// As the value of a header.
    pub(super) fn value(&self, is_bearer: bool) -> HeaderValue {
        if is_bearer { self.bearer.clone() } else { self.bare.clone() }
    }

    pub(super) fn digest(&self) -> KeyDigest {
        self.digest
    }
}

fn sensitive(value: Bytes) -> Result<HeaderValue, NoKey> {
    let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| NoKey::NotAKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The digest of the key in a header's value, which may have the scheme in front.
pub(super) fn digest_of(value: &HeaderValue) -> KeyDigest {
    let value = value.as_bytes().trim_ascii();
    let key = match value.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => key.trim_ascii_start(),
        _ => value,
    };
    digest(key)
}

fn digest(key: &[u8]) -> KeyDigest {
    KeyHasher::sha256().digest(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_between_white_space() {
        for text in ["acme_key1", " acme_key1", "acme_key1\n", "\t acme_key1 \r\n"] {
            let Ok(credential) = Credential::read(text.as_bytes()) else { panic!("{text:?}") };
            assert_eq!(credential.value(false), "acme_key1");
            assert_eq!(credential.value(true), "Bearer acme_key1");
            assert!(
                credential.value(false).is_sensitive() && credential.value(true).is_sensitive()
            );
        }
    }

    #[test]
    fn anything_else_is_none() {
        let long = "k".repeat(4097);
        for text in ["acme_ke", "acme key1", "acme\nkey1", "acme_k\u{e9}y1", "acme_key\0", &long] {
            assert_eq!(Credential::read(text.as_bytes()).err(), Some(NoKey::NotAKey), "{text:?}");
        }
        assert_eq!(Credential::read(b"acme_key\xff").err(), Some(NoKey::NotAKey));
        for text in ["", " ", "\n\r\n\t"] {
            assert_eq!(Credential::read(text.as_bytes()).err(), Some(NoKey::Empty), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_known_in_any_form() {
        let credential = Credential::read(b"acme_key1").ok().unwrap();
        for value in ["acme_key1", "Bearer acme_key1", "bearer  acme_key1", "BEARER acme_key1 "] {
            assert!(digest_of(&HeaderValue::from_static(value)) == credential.digest(), "{value}");
        }
        for value in ["acme_key2", "Basic acme_key1", "Bearer", "Beareracme_key1", ""] {
            assert!(digest_of(&HeaderValue::from_static(value)) != credential.digest(), "{value}");
        }
    }
}
