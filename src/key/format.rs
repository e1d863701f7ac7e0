//! [`KeyFormat`]: generate and recognise keys.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use zeroize::Zeroizing;

use super::{
    checksum::{BASE62, CHECKSUM_LEN, checksum, is_checksum},
    digest::{KeyHasher, after_number},
    seal::{IssuerSecrets, SEAL_LEN},
    secret::SecretKey,
};
use crate::error::ConfigError;

/// 43 base62 characters carry 256 bits.
const SECRET_LEN: usize = 43;
const MAX_PREFIX_LEN: usize = 24;
/// Characters of the secret that [`KeyFormat::start`] shows.
const START_SECRET_LEN: usize = 4;
/// Lengths of opaque keys.
const OPAQUE: Lengths = Lengths { least: 16, most: 512 };
const OPAQUE_BOUNDS: Lengths = Lengths { least: 8, most: 4096 };
/// So many base62 characters carry 131 bits: no key is issued with fewer.
const MIN_SECRET_LEN: usize = 22;

/// How keys look.
///
/// A *prefixed* key is `<prefix>_<43 base62 characters><6 base62 characters>`:
///
/// - the prefix says whose key it is, to people and to secret scanners;
/// - 43 characters drawn uniformly from the operating system's CSPRNG are 256 bits;
/// - the last six are the CRC-32 of everything before them, so that a typo or noise is refused
///   without hashing or looking anything up;
/// - letters, digits and `_` only, so that a double-click selects the whole key.
///
/// Keep the prefix short: up to five characters make keys of at most 55 bytes, which is one
/// SHA-256 block; a longer one costs a second block on every request.
///
/// A [*sealed*](Self::sealed) key has a seal of twelve characters in place of the checksum. Any client
/// can compute a checksum; a seal takes a secret of the service.
///
/// An *opaque* key is any visible ASCII of 16 to 512 bytes, or of [other lengths](Self::opaque_of): keys that
/// other systems made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct KeyFormat(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The prefix with its closing `_`.
    Prefixed(Arc<str>),
    Sealed(Arc<Sealed>),
    Opaque(Lengths),
}

/// In bytes; both ends are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lengths {
    least: u16,
    most: u16,
}

impl Lengths {
    const fn contain(self, length: usize) -> bool {
        self.least as usize <= length && length <= self.most as usize
    }
}

/// A format whose keys may have a seal.
#[derive(Clone, Debug)]
struct Sealed {
    /// With its closing `_`.
    prefix: Arc<str>,
    secrets: IssuerSecrets,
    accepts_checksums: bool,
}

/// The last characters of a key of a sealed prefix.
enum Ending {
    Seal,
    /// Which any client can compute: such a key may be a guess.
    Checksum,
}

impl KeyFormat {
    /// Keys of the form described above.
    ///
    /// The prefix is `[a-z][a-z0-9]*(_[a-z0-9]+)*`, at most 24 bytes, for example `acme` or
    /// `acme_live`.
    ///
    /// ```
    /// use tower_api_key::KeyFormat;
    ///
    /// let format = KeyFormat::new("acme")?;
    /// let key = format.generate()?;
    /// assert!(format.recognizes(key.expose()));
    /// assert_eq!(key.expose().len(), "acme_".len() + 43 + 6);
    /// assert_eq!(format.start(key.expose()).len(), "acme_".len() + 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(prefix: &str) -> Result<Self, ConfigError> {
        let word = |w: &str| {
            !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let good = prefix.len() <= MAX_PREFIX_LEN
            && prefix.starts_with(|c: char| c.is_ascii_lowercase())
            && prefix.split('_').all(word);
        if good {
            Ok(Self(Kind::Prefixed(format!("{prefix}_").into())))
        } else {
            Err(ConfigError::Prefix)
        }
    }

    /// The same prefix with sealed keys: `<prefix>_<43 base62 characters><12 base62 characters>`.
    ///
    /// The last twelve are an HMAC-SHA256 of all before them under an [issuer
    /// secret](IssuerSecrets). A key that this service has not issued is refused as malformed without
    /// hashing it or looking it up: a flood of guesses costs the store nothing.
    ///
    /// Keys of the prefix with a checksum, issued before, are **still accepted**. Any client can make up
    /// such a key, so each is looked up. End that with [`sealed_only`](Self::sealed_only): at once in a
    /// new service, and in one that has issued such keys, once they are rotated.
    ///
    /// Of several formats with one prefix, the first alone decides: give a layer this one in place
    /// of the unsealed.
    ///
    /// With a prefix of up to six characters a key has at most 62 bytes: two SHA-256 blocks, and an
    /// HMAC for each secret up to its own.
    ///
    /// The `hasher` is the one by which the keys are stored. A secret that is one of its peppers too is
    /// a [`SharedSecret`](ConfigError::SharedSecret) error: one leak would give both away. An opaque
    /// format is [`OpaqueSealed`](ConfigError::OpaqueSealed).
    ///
    /// ```
    /// use tower_api_key::{IssuerSecrets, KeyFormat, KeyHasher};
    ///
    /// let secrets = IssuerSecrets::new(b"from `openssl rand -hex 32`, and in no repository")?;
    /// let format = KeyFormat::new("acme")?.sealed(secrets, &KeyHasher::sha256())?.sealed_only()?;
    ///
    /// let key = format.generate()?;
    /// assert!(format.recognizes(key.expose()));
    /// assert_eq!(key.expose().len(), "acme_".len() + 43 + 12);
    /// // Well-formed, and not issued here.
    /// let guess = KeyFormat::new("acme")?.generate()?;
    /// assert!(!format.recognizes(guess.expose()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sealed(self, secrets: IssuerSecrets, hasher: &KeyHasher) -> Result<Self, ConfigError> {
        if !secrets.are_apart_from(hasher) {
            return Err(ConfigError::SharedSecret);
        }
        let prefix = match self.0 {
            Kind::Prefixed(prefix) => prefix,
            Kind::Sealed(sealed) => sealed.prefix.clone(),
            Kind::Opaque(_) => return Err(ConfigError::OpaqueSealed),
        };
        Ok(Self(Kind::Sealed(Arc::new(Sealed { prefix, secrets, accepts_checksums: true }))))
    }

    /// Refuses keys that have a checksum in place of the seal.
    ///
    /// A format that issues such keys is a [`NotSealed`](ConfigError::NotSealed) error: one that is
    /// not [sealed](Self::sealed), or that has no current issuer secret.
    pub fn sealed_only(self) -> Result<Self, ConfigError> {
        match self.0 {
            Kind::Sealed(mut sealed) if sealed.secrets.seals() => {
                Arc::make_mut(&mut sealed).accepts_checksums = false;
                Ok(Self(Kind::Sealed(sealed)))
            }
            _ => Err(ConfigError::NotSealed),
        }
    }

    /// Any visible ASCII (0x21–0x7E) of 16 to 512 bytes.
    pub const fn opaque() -> Self {
        Self(Kind::Opaque(OPAQUE))
    }

    /// Any visible ASCII (0x21–0x7E) of these lengths in bytes, for keys of other systems that
    /// [`opaque`](Self::opaque) does not accept. They must be within 8 and 4096, and one of them at least 22:
    /// a key that is issued has to be one that cannot be guessed.
    ///
    /// ```
    /// use tower_api_key::KeyFormat;
    ///
    /// let signed_tokens = KeyFormat::opaque_of(8..=4096)?;
    /// assert!(signed_tokens.recognizes(&"x".repeat(1_000)));
    /// assert!(KeyFormat::opaque_of(8..=16).is_err());
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn opaque_of(lengths: RangeInclusive<usize>) -> Result<Self, ConfigError> {
        let (least, most) = (*lengths.start(), *lengths.end());
        let is_good = OPAQUE_BOUNDS.contain(least)
            && OPAQUE_BOUNDS.contain(most)
            && least <= most
            && most >= MIN_SECRET_LEN;
        match (u16::try_from(least), u16::try_from(most)) {
            (Ok(least), Ok(most)) if is_good => Ok(Self(Kind::Opaque(Lengths { least, most }))),
            _ => Err(ConfigError::OpaqueLengths),
        }
    }

    /// Makes a new key. An opaque key is random characters alone: 43, or as near to that as its lengths
    /// allow.
    pub fn generate(&self) -> Result<SecretKey, GenerateError> {
        let prefix = self.prefix();
        let secret_len = match self.0 {
            Kind::Opaque(lengths) => SECRET_LEN.clamp(lengths.least.into(), lengths.most.into()),
            Kind::Prefixed(_) | Kind::Sealed(_) => SECRET_LEN,
        };
        // The whole capacity at once: growing would leave copies of the secret behind.
        let mut key = Zeroizing::new(String::with_capacity(prefix.len() + secret_len + SEAL_LEN));
        key.push_str(prefix);
        push_random_base62(&mut key, secret_len)?;
        let seal = match &self.0 {
            Kind::Sealed(sealed) => sealed.secrets.seal(key.as_bytes()),
            _ => None,
        };
        match seal {
            Some(digits) => key.extend(digits.as_flattened().iter().copied().map(char::from)),
            None if prefix.is_empty() => {}
            None => {
                let digits = checksum(key.as_bytes());
                key.extend(digits.map(char::from));
            }
        }
        Ok(SecretKey::new(std::mem::take(&mut *key)))
    }

    /// Whether `key` has this format: length, characters, prefix, and checksum or seal.
    pub fn recognizes(&self, key: &str) -> bool {
        self.accepts(key.as_bytes())
    }

    /// The beginning of a key, to show so that people can tell their keys apart: the prefix and
    /// the first four characters of the secret.
    ///
    /// Of something that is not a key of this format, the first four characters.
    pub fn start<'k>(&self, key: &'k str) -> &'k str {
        let prefix = self.prefix();
        let prefix = if key.starts_with(prefix) { prefix.len() } else { 0 };
        key.get(..prefix + START_SECRET_LEN).unwrap_or("")
    }

    /// With its closing `_`; empty for opaque keys.
    pub(crate) fn prefix(&self) -> &str {
        match &self.0 {
            Kind::Prefixed(prefix) => prefix,
            Kind::Sealed(sealed) => &sealed.prefix,
            Kind::Opaque(_) => "",
        }
    }

    #[inline]
    fn accepts(&self, key: &[u8]) -> bool {
        match &self.0 {
            Kind::Prefixed(prefix) => key
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|tail| is_secret_with_checksum(key, tail)),
            Kind::Sealed(sealed) => sealed.judge(key).unwrap_or(false),
            Kind::Opaque(lengths) => lengths.contain(key.len()) && is_visible(key),
        }
    }
}

impl Sealed {
    /// Whether the key is accepted; `None` if it has another prefix. Out of line, so that a layer
    /// without seals pays nothing for them.
    #[cold]
    #[inline(never)]
    fn judge(&self, key: &[u8]) -> Option<bool> {
        let tail = key.strip_prefix(self.prefix.as_bytes())?;
        Some(match self.ending(key, tail) {
            Some(Ending::Seal) => true,
            Some(Ending::Checksum) => self.accepts_checksums,
            None => false,
        })
    }

    /// The ending of the `tail`, which follows the prefix in `key`; `None` if it is neither a good seal
    /// nor a good checksum.
    fn ending(&self, key: &[u8], tail: &[u8]) -> Option<Ending> {
        if tail.len() != SECRET_LEN + SEAL_LEN {
            return is_secret_with_checksum(key, tail).then_some(Ending::Checksum);
        }
        let (text, seal) = key.split_last_chunk()?;
        let is_sealed = all(tail, u8::is_ascii_alphanumeric) && self.secrets.accept(text, *seal);
        is_sealed.then_some(Ending::Seal)
    }
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        self.prefix == other.prefix
            && self.accepts_checksums == other.accepts_checksums
            && self.secrets.are_the_same(&other.secrets)
    }
}

impl Eq for Sealed {}

/// What is known of a key without the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It is a key of one of the formats.
    Accepted,
    /// It is if its checksum is right. The checksum finds typing errors: a key that the store knows
    /// has none, so it is asked for others only.
    WithChecksum,
    Refused,
}

/// Whether `key` is a key of one of `formats`.
pub(crate) fn is_accepted(formats: &[KeyFormat], key: &[u8]) -> bool {
    match shape(formats, key) {
        Shape::Accepted => true,
        Shape::WithChecksum => has_checksum(key),
        Shape::Refused => false,
    }
}

/// What `key` is by its length, its characters, its prefix and its seal.
///
/// The first format that claims the key by its prefix decides alone, so that a mistyped prefixed
/// key is not looked up merely because opaque keys are accepted as well. A layer has the longest
/// prefixes first.
#[inline]
pub(crate) fn shape(formats: &[KeyFormat], key: &[u8]) -> Shape {
    let accepted = |is_accepted| if is_accepted { Shape::Accepted } else { Shape::Refused };
    let mut is_opaque = false;
    for format in formats {
        match &format.0 {
            Kind::Prefixed(prefix) => {
                if let Some(tail) = key.strip_prefix(prefix.as_bytes()) {
                    let is_secret = has_form_with_checksum(tail);
                    return if is_secret { Shape::WithChecksum } else { Shape::Refused };
                }
            }
            Kind::Sealed(sealed) => {
                if let Some(is_accepted) = sealed.judge(key) {
                    return accepted(is_accepted);
                }
            }
            Kind::Opaque(lengths) => is_opaque |= lengths.contain(key.len()),
        }
    }
    accepted(
        is_opaque
            && is_visible(key)
            && (formats.len() == 1 || is_accepted_after_number(formats, key)),
    )
}

/// A hasher of [numbered keys](super::KeyHasher::with_numbered_keys) hashes what follows the number: a
/// key of a prefixed format is no other for a number before it, and must not get past its format.
#[cold]
fn is_accepted_after_number(formats: &[KeyFormat], key: &[u8]) -> bool {
    let secret = after_number(key);
    let is_claimed = |format: &KeyFormat| {
        !format.prefix().is_empty() && secret.starts_with(format.prefix().as_bytes())
    };
    secret.len() == key.len() || !formats.iter().any(is_claimed) || is_accepted(formats, secret)
}

/// Whether `key` has the shape of a prefixed one of `formats`, with a checksum or a seal. Neither is
/// checked: under another issuer secret it may be a good key, now or tomorrow, and any number of texts
/// may have to be looked at.
pub(crate) fn is_prefixed(formats: &[KeyFormat], key: &[u8]) -> bool {
    formats.iter().any(|format| {
        let prefix = format.prefix();
        let tail = key.strip_prefix(prefix.as_bytes()).filter(|_| !prefix.is_empty());
        tail.is_some_and(|tail| {
            let lengths = [SECRET_LEN + CHECKSUM_LEN, SECRET_LEN + SEAL_LEN];
            lengths.contains(&tail.len()) && all(tail, u8::is_ascii_alphanumeric)
        })
    })
}

fn is_visible(key: &[u8]) -> bool {
    all(key, u8::is_ascii_graphic)
}

/// Whether `tail`, which is what follows the prefix in `key`, is a secret and the checksum of all
/// before it.
#[inline]
fn is_secret_with_checksum(key: &[u8], tail: &[u8]) -> bool {
    has_form_with_checksum(tail) && has_checksum(key)
}

/// Whether `tail` has the length and the characters of a secret with a checksum.
#[inline]
fn has_form_with_checksum(tail: &[u8]) -> bool {
    tail.len() == SECRET_LEN + CHECKSUM_LEN && all(tail, u8::is_ascii_alphanumeric)
}

/// Whether a key that ends with six digits ends with the checksum of what is before them.
pub(crate) fn has_checksum(key: &[u8]) -> bool {
    key.split_last_chunk().is_some_and(|(text, digits)| is_checksum(text, *digits))
}

/// Like `Iterator::all`, but never stops early and goes in chunks: so the compiler checks sixteen
/// bytes at a time, which is most of the cost of parsing a key.
#[inline]
fn all(bytes: &[u8], good: impl Fn(&u8) -> bool) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let all_of = |bytes: &[u8]| bytes.iter().fold(true, |all_good, byte| all_good & good(byte));
    chunks.iter().fold(true, |all_good, chunk| all_good & all_of(chunk)) & all_of(rest)
}

/// Appends characters drawn uniformly: bytes that would favour some characters are thrown away.
fn push_random_base62(text: &mut String, count: usize) -> Result<(), GenerateError> {
    /// The largest multiple of 62 that a byte can hold.
    const FAIR: u8 = 248;
    let mut pool = Zeroizing::new([0_u8; 64]);
    let mut missing = count;
    while missing > 0 {
        getrandom::fill(&mut *pool).map_err(GenerateError)?;
        let fair = pool.iter().filter(|byte| **byte < FAIR).take(missing);
        for byte in fair {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
            missing -= 1;
        }
    }
    Ok(())
}

/// The operating system gave no random bytes.
#[derive(Clone, Debug)]
pub struct GenerateError(pub(crate) getrandom::Error);

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl std::error::Error for GenerateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes() {
        for good in ["a", "acme", "acme_live", "a1_2b", "abcdefghijklmnopqrstuvwx"] {
            assert!(KeyFormat::new(good).is_ok(), "{good}");
        }
        for bad in ["", "_a", "a_", "a__b", "A", "1a", "ä", "a-b", "abcdefghijklmnopqrstuvwxy"] {
            assert_eq!(KeyFormat::new(bad), Err(ConfigError::Prefix), "{bad}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let format = KeyFormat::new("acme_live").unwrap();
        let key = format.generate().unwrap();
        for position in 0..key.expose().len() {
            let mut typo = key.expose().as_bytes().to_vec();
            typo[position] = if typo[position] == b'x' { b'y' } else { b'x' };
            assert!(!format.accepts(&typo), "position {position}");
        }
    }

    #[test]
    fn characters_are_drawn_uniformly() {
        let mut counts = [0_u32; 62];
        let mut text = String::new();
        push_random_base62(&mut text, 620_000).unwrap();
        for byte in text.bytes() {
            counts[BASE62.iter().position(|c| *c == byte).unwrap()] += 1;
        }
        // Expected 10,000 each, standard deviation about 99: eight of them is out of reach of luck. One
        // byte more that is thought fair makes 12,450 of one.
        assert!(counts.iter().all(|count| (9_200..=10_800).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_prefixed_format_decides_for_its_own_keys() {
        let formats = [KeyFormat::opaque(), KeyFormat::new("acme").unwrap()];
        let key = formats[1].generate().unwrap();
        assert!(is_accepted(&formats, key.expose().as_bytes()));
        assert!(!is_accepted(&formats, b"acme_not-a-valid-checksum"));
        assert!(is_accepted(&formats, b"a-key-from-another-system"));
        assert!(!is_accepted(&formats[1..], b"a-key-from-another-system"));
        // One number is taken off, as by the hasher.
        assert!(!is_accepted(&formats, b"1|acme_not-a-valid-checksum"));
        assert!(is_accepted(&formats, b"1|2|acme_not-a-valid-checksum"));
    }

    #[test]
    fn a_right_checksum_is_not_enough() {
        let formats = [KeyFormat::new("acme").unwrap()];
        for (secret, is_good) in [
            ("x".repeat(SECRET_LEN), true),
            ("x".repeat(SECRET_LEN - 1), false),
            ("x".repeat(SECRET_LEN + 1), false),
            ("-".repeat(SECRET_LEN), false),
        ] {
            let text = format!("acme_{secret}");
            let digits = checksum(text.as_bytes()).map(char::from);
            let key = text + &String::from_iter(digits);
            assert_eq!(is_accepted(&formats, key.as_bytes()), is_good, "{key}");
        }
    }

    #[test]
    fn an_opaque_key_is_a_secret_alone() {
        let key = KeyFormat::opaque().generate().unwrap();
        assert_eq!(key.expose().len(), SECRET_LEN);
    }

    #[test]
    fn opaque_keys_have_the_lengths_that_were_said() {
        for bad in [7..=64, 8..=4097, 0..=0, 8..=21, 5000..=9000, 8..=usize::MAX] {
            assert_eq!(
                KeyFormat::opaque_of(bad.clone()),
                Err(ConfigError::OpaqueLengths),
                "{bad:?}"
            );
        }
        let none = RangeInclusive::new(30, 22);
        assert_eq!(KeyFormat::opaque_of(none), Err(ConfigError::OpaqueLengths));
        for (lengths, issued) in [(8..=4096, 43), (8..=22, 22), (64..=64, 64), (40..=50, 43)] {
            let format = KeyFormat::opaque_of(lengths.clone()).unwrap();
            let key = format.generate().unwrap();
            assert_eq!(key.expose().len(), issued, "{lengths:?}");
            assert!(format.recognizes(key.expose()));
            for length in [*lengths.start() - 1, *lengths.end() + 1] {
                assert!(!format.recognizes(&"x".repeat(length)), "{lengths:?} {length}");
            }
            for length in [*lengths.start(), *lengths.end()] {
                assert!(format.recognizes(&"x".repeat(length)), "{lengths:?} {length}");
                assert!(!format.recognizes(&" ".repeat(length)), "{lengths:?} {length}");
            }
        }
        // Two of them accept what one of them does.
        let formats = [KeyFormat::opaque(), KeyFormat::opaque_of(600..=700).unwrap()];
        for (length, expected) in [(15, false), (16, true), (512, true), (513, false), (600, true)]
        {
            assert_eq!(is_accepted(&formats, "x".repeat(length).as_bytes()), expected, "{length}");
        }
    }

    #[test]
    fn starts() {
        let format = KeyFormat::new("acme").unwrap();
        assert_eq!(format.start("acme_1234567"), "acme_1234");
        assert_eq!(format.start("other_1234567"), "othe");
        assert_eq!(format.start("äöü"), "äö");
        assert_eq!(format.start("abc"), "");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for format in [KeyFormat::opaque(), KeyFormat::new("acme").unwrap()] {
                prop_assert!(!format.accepts(&bytes) || bytes.iter().all(u8::is_ascii_graphic));
            }
        }
    }
}
