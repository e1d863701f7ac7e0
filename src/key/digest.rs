//! [`KeyDigest`] and [`KeyHasher`]: what is stored instead of a key. The only file that compares
//! digests and seals.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;

use super::{
    keyed,
    sha256::{HmacKey, sha256},
};
use crate::{
    clock::Timestamp,
    error::ConfigError,
    text::{from_hex, hex},
};

/// The 32 bytes by which a key is stored and looked up.
///
/// `==` takes the same time wherever the digests differ. `Debug` shows nothing: a digest does
/// not belong in a log, where it would let a holder of a key check whose it is.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// From the 32 raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits of either case: the form most systems store.
    ///
    /// ```
    /// use tower_api_key::{KeyHasher, key::KeyDigest};
    ///
    /// // What `hashlib.sha256(b"my-key-from-python").hexdigest()` wrote.
    /// let stored = "48e4389fe9be1b939c761ccc20b69bf962af209365732a074a6d10f5e6423a4b";
    /// let digest = KeyHasher::sha256().digest("my-key-from-python");
    /// assert_eq!(KeyDigest::from_hex(stored), Some(digest));
    /// assert_eq!(KeyDigest::from_hex("48e4"), None);
    /// ```
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex(self.0)
    }

    /// The digest as four words, in memory order.
    #[inline]
    pub(crate) fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }
}

impl PartialEq for KeyDigest {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        are_equal(self.words(), other.words())
    }
}

impl Eq for KeyDigest {}

/// In constant time: the differences of all words are gathered before one comparison, which
/// `subtle` keeps free of branches. Comparing byte by byte costs four times as much.
#[inline]
pub(super) fn are_equal<const WORDS: usize>(one: [u64; WORDS], other: [u64; WORDS]) -> bool {
    let pairs = one.into_iter().zip(other);
    let difference = pairs.fold(0, |all, (a, b)| all | (a ^ b));
    difference.ct_eq(&0).into()
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// How a key becomes a [`KeyDigest`].
///
/// Plain SHA-256 by default. A fast hash is right here: keys carry 256 random bits, so there is
/// nothing to guess, and a slow hash on every request is a gift to a denial-of-service attack
/// (NIST SP 800-63B-4 §3.1.2 allows an approved plain hash from 112 bits of entropy).
///
/// With [`Peppers`], HMAC-SHA256 under a secret that is not in the database: an attacker who
/// can write rows still cannot make a key that works.
///
/// # Numbered keys
///
/// Laravel Sanctum gives its callers `17|` and a secret, and stores `sha256(secret)`: the number is
/// that of the row. [`with_numbered_keys`](Self::with_numbered_keys) lets such keys in.
#[derive(Clone, Default)]
#[must_use]
pub struct KeyHasher {
    peppers: Option<Arc<Peppers>>,
    numbered: bool,
}

/// The secret of a numbered key has at least as many bytes as any other key.
const MIN_NUMBERED_SECRET: usize = 16;

impl KeyHasher {
    /// SHA-256 of the whole key string: rows that other systems made as `sha256(key)` work as
    /// they are.
    pub const fn sha256() -> Self {
        Self { peppers: None, numbered: false }
    }

    /// HMAC-SHA256 under the current pepper; keys stored under the next or a retired one are still
    /// found.
    pub fn hmac_sha256(peppers: Peppers) -> Self {
        Self { peppers: Some(Arc::new(peppers)), numbered: false }
    }

    /// Of keys like `17|secret`, hashes only the secret: decimal digits, `|`, and at least 16 bytes.
    /// Other keys are hashed as a whole, as without this.
    ///
    /// The number is not checked, and the secret alone is let in as well, as Sanctum does: the
    /// secret is what proves the caller. The layer has to accept the form, which
    /// [`KeyFormat::opaque`](crate::KeyFormat::opaque) does.
    ///
    /// ```
    /// use tower_api_key::KeyHasher;
    ///
    /// let secret = "qTzJ2b0XQxCs8nB6mKfW3vLpRyHd4EgUaN1oZi5t";
    /// let hasher = KeyHasher::sha256().with_numbered_keys();
    /// assert_eq!(hasher.digest(format!("17|{secret}")), KeyHasher::sha256().digest(secret));
    /// ```
    pub fn with_numbered_keys(mut self) -> Self {
        self.numbered = true;
        self
    }

    /// SHA-256, and keys stored under this pepper are found as well: the first step from no pepper
    /// to one; see [`Peppers`].
    pub fn sha256_with_next(next: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self::hmac_sha256(Peppers { current: Method::Sha256, others: vec![Other::next(next)?] }))
    }

    /// The digest to store for `key`.
    #[inline]
    pub fn digest(&self, key: impl AsRef<[u8]>) -> KeyDigest {
        let key = self.hashed(key.as_ref());
        match &self.peppers {
            None => KeyDigest(sha256(key)),
            Some(peppers) => peppers.current.digest(key),
        }
    }

    /// The part of a key that is hashed.
    #[inline]
    fn hashed<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        if self.numbered { after_number(key) } else { key }
    }

    /// The digest that `key` has by the `index`th other way: under the next pepper if there is
    /// one, then under the retired ones, the latest first.
    pub(crate) fn other_digest(&self, key: &[u8], index: usize) -> Option<KeyDigest> {
        Some(self.others().get(index)?.method.digest(self.hashed(key)))
    }

    /// Whether keys stored by the `index`th other way are still accepted.
    pub(crate) fn accepts_other(&self, index: usize, now: impl FnOnce() -> Timestamp) -> bool {
        let until = self.others().get(index).and_then(|other| other.until);
        until.is_none_or(|until| now() < until)
    }

    /// Whether the `index`th other way is the one to come, by which other nodes may store keys
    /// already. This one leaves such keys as they are: two nodes would store them in turns.
    pub(crate) fn is_next(&self, index: usize) -> bool {
        self.others().get(index).is_some_and(|other| other.is_next)
    }

    /// How many other ways there are to try.
    pub(crate) fn other_count(&self) -> usize {
        self.others().len()
    }

    fn others(&self) -> &[Other] {
        self.peppers.as_ref().map_or(&[], |peppers| &peppers.others)
    }

    /// The peppers, whatever their state.
    pub(super) fn peppers(&self) -> impl Iterator<Item = &HmacKey> {
        self.peppers.iter().flat_map(|peppers| peppers.methods()).filter_map(
            |method| match method {
                Method::Sha256 => None,
                Method::Hmac(pepper) => Some(pepper),
            },
        )
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.peppers.as_deref() {
            None | Some(Peppers { current: Method::Sha256, .. }) => "KeyHasher(SHA-256)",
            Some(_) => "KeyHasher(HMAC-SHA256)",
        })
    }
}

/// One way from a key to a digest.
#[derive(Clone)]
enum Method {
    Sha256,
    Hmac(HmacKey),
}

impl Method {
    /// Whether both make the same digests.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sha256, Self::Sha256) => true,
            (Self::Hmac(one), Self::Hmac(other)) => one.fingerprint() == other.fingerprint(),
            (Self::Sha256, Self::Hmac(_)) | (Self::Hmac(_), Self::Sha256) => false,
        }
    }

    #[inline]
    fn digest(&self, key: &[u8]) -> KeyDigest {
        match self {
            Self::Sha256 => KeyDigest(sha256(key)),
            Self::Hmac(pepper) => KeyDigest(pepper.mac(key)),
        }
    }
}

/// A way in which keys are accepted and never stored.
#[derive(Clone)]
struct Other {
    method: Method,
    is_next: bool,
    /// Accepted before this moment; without one, for good.
    until: Option<Timestamp>,
}

impl Other {
    fn next(pepper: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self { method: Method::Hmac(keyed(pepper)?), is_next: true, until: None })
    }

    fn retired(method: Method, until: Option<Timestamp>) -> Self {
        Self { method, is_next: false, until }
    }
}

/// The secret of a numbered key; any other key as it is.
pub(super) fn after_number(key: &[u8]) -> &[u8] {
    let digits = key.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match key.get(digits..) {
        Some([b'|', secret @ ..]) if digits > 0 && secret.len() >= MIN_NUMBERED_SECRET => secret,
        _ => key,
    }
}

/// The secrets that [`KeyHasher::hmac_sha256`] mixes into digests. Each is in one of three states:
///
/// | state | keys stored under it are found | keys are stored under it |
/// |---|---|---|
/// | *next* | yes | never |
/// | *current* | yes | new keys, and retired ones when they are next used |
/// | *retired* | yes | no longer |
///
/// # Changing the pepper
///
/// With several nodes, a node with the old configuration must find what one with the new stores:
///
/// 1. Add the new pepper as *next*, and wait until every node has it.
/// 2. Make it current and the old one retired, node by node. A layer from
///    [`KeyManager::layer`](crate::KeyManager::layer) stores a key that was found under a retired
///    pepper anew under the current one.
/// 3. Once no key is left under it, or none that is still wanted, take the retired one away.
///
/// To go back from step 2, go back to step 1: the new pepper becomes *next* again, and keys that
/// were stored under it are found. Going back further would lock them out.
///
/// # From no pepper to one
///
/// The same, where the old way is plain SHA-256: [`KeyHasher::sha256_with_next`] is step 1, and
/// [`with_retired_plain`](Self::with_retired_plain) step 2.
///
/// ```
/// use tower_api_key::{KeyHasher, Peppers};
///
/// let (old, new) = (b"the old pepper, 32 bytes or more..", b"the new pepper, 32 bytes or more..");
/// // On every node, before any node has the third line.
/// let first = KeyHasher::hmac_sha256(Peppers::new(old)?.with_next(new)?);
/// let then = KeyHasher::hmac_sha256(Peppers::new(new)?.with_retired(old)?);
/// # let _ = (first, then);
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
///
/// # Line ends
///
/// The bytes given to [`new`](Self::new), [`with_next`](Self::with_next) and
/// [`with_retired`](Self::with_retired) are used as they are. Text, from the environment or a file,
/// is read by one rule, whatever the pepper's state: a pepper is one line, and the line ends after
/// it (`\n`, `\r\n`) are no part of it. [`line`](Self::line) is that rule.
#[derive(Clone)]
#[must_use]
pub struct Peppers {
    current: Method,
    /// The next one first, then the retired ones, the latest first.
    others: Vec<Other>,
}

impl Peppers {
    /// A current pepper of at least 32 bytes and no others.
    pub fn new(current: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self { current: Method::Hmac(keyed(current)?), others: Vec::new() })
    }

    /// The current pepper from an environment variable: a [line](Self::line) of at least 32 bytes.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        let expected = "a pepper of at least 32 bytes, on one line";
        keyed::from_env(variable, expected, |value| Self::line(value).and_then(Self::new))
    }

    /// The pepper in this text: the one line without the line ends after it. Shells, editors and
    /// orchestrators add such ends or take them away, and with another pepper no key is found.
    pub fn line(text: &str) -> Result<&[u8], ConfigError> {
        keyed::line(text, ConfigError::PepperLines)
    }

    /// Sets the pepper that is to become the current one. Keys that another node stored under it
    /// are found, and stay as they are. Nothing changes if it is current already; it is retired no
    /// longer.
    pub fn with_next(mut self, next: &[u8]) -> Result<Self, ConfigError> {
        let next = Other::next(next)?;
        self.others.retain(|other| !other.is_next && !other.method.is(&next.method));
        if !self.current.is(&next.method) {
            self.others.insert(0, next);
        }
        Ok(self)
    }

    /// Adds a retired pepper. Add the latest first: they are tried in this order, and each of them
    /// costs an unknown key a lookup. Nothing changes if it is current, next or retired already.
    pub fn with_retired(mut self, retired: &[u8]) -> Result<Self, ConfigError> {
        let retired = Method::Hmac(keyed(retired)?);
        if !self.methods().any(|method| method.is(&retired)) {
            self.others.push(Other::retired(retired, None));
        }
        Ok(self)
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        std::iter::once(&self.current).chain(self.others.iter().map(|other| &other.method))
    }

    /// Adds the retired peppers in this text, the latest first: each is a [line](Self::line), and
    /// empty lines are passed over.
    pub fn with_retired_lines(self, text: &str) -> Result<Self, ConfigError> {
        keyed::lines(text).try_fold(self, |peppers, line| peppers.with_retired(Self::line(line)?))
    }

    /// Accepts keys that were stored without any pepper, as plain SHA-256, before `until`: rows
    /// from before there was a pepper, and imported ones. They are stored anew under the current
    /// pepper when they are next used. Those that were not used by then are unknown.
    ///
    /// While this lasts, an attacker who can write to the table can make a key that works. A pepper
    /// is there to prevent that, so it has an end.
    pub fn with_retired_plain(mut self, until: Timestamp) -> Self {
        self.others.push(Other::retired(Method::Sha256, Some(until)));
        self
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.others.iter().filter(|other| other.is_next).count();
        write!(f, "Peppers(current, {next} next, {} retired)", self.others.len() - next)
    }
}

fn keyed(pepper: &[u8]) -> Result<HmacKey, ConfigError> {
    keyed::keyed(pepper, ConfigError::PepperTooShort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_the_whole_key() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHasher::sha256().digest("abc").to_hex(), expected);
    }

    #[test]
    fn hmac_sha256_under_the_pepper() {
        // RFC 4231, test case 6: a key of 131 bytes.
        let hasher = KeyHasher::hmac_sha256(Peppers::new(&[0xaa; 131]).unwrap());
        let text = "Test Using Larger Than Block-Size Key - Hash Key First";
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hasher.digest(text).to_hex(), expected);
    }

    #[test]
    fn only_the_secret_of_a_numbered_key_is_hashed() {
        let plain = KeyHasher::sha256();
        let numbered = KeyHasher::sha256().with_numbered_keys();
        let secret = "0123456789abcdef";
        for key in ["17|0123456789abcdef", "0|0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(numbered.digest(key), plain.digest(secret), "{key}");
        }
        for whole in [
            "17|0123456789abcde",
            "|0123456789abcdef",
            "a17|0123456789abcdef",
            "17||",
            "17",
            "",
            "-1|0123456789abcdef",
            "key_0123456789abcdef|0123456789abcdef",
        ] {
            assert_eq!(numbered.digest(whole), plain.digest(whole), "{whole}");
        }
        // The first bar ends the number.
        assert_eq!(numbered.digest("1|2|0123456789abcdef"), plain.digest("2|0123456789abcdef"),);
        let (new, old) = ([1; 32], [2; 32]);
        let peppers = Peppers::new(&new).unwrap().with_retired(&old).unwrap();
        let peppered = KeyHasher::hmac_sha256(peppers).with_numbered_keys();
        let under = |pepper| KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap()).digest(secret);
        assert_eq!(peppered.digest("17|0123456789abcdef"), under(&new));
        assert_eq!(peppered.other_digest(b"17|0123456789abcdef", 0), Some(under(&old)));
    }

    #[test]
    fn a_pepper_has_one_state() {
        let [one, two, three] = [[1; 32], [2; 32], [3; 32]];
        let peppers = Peppers::new(&one).unwrap().with_next(&two).unwrap();
        let peppers = peppers.with_retired(&three).unwrap();
        assert_eq!(format!("{peppers:?}"), "Peppers(current, 1 next, 1 retired)");
        for same in [one, two, three] {
            let again = peppers.clone().with_retired(&same).unwrap();
            assert_eq!(again.others.len(), 2, "an unknown key is looked up once under each");
        }
        let promoted = peppers.clone().with_next(&one).unwrap();
        assert_eq!(format!("{promoted:?}"), "Peppers(current, 0 next, 1 retired)");
        let back = peppers.with_next(&three).unwrap();
        assert_eq!(format!("{back:?}"), "Peppers(current, 1 next, 0 retired)");
    }

    #[test]
    fn a_difference_in_any_byte_is_seen() {
        let digest = KeyDigest::from_bytes([7; 32]);
        assert_eq!(digest, KeyDigest::from_hex(&digest.to_hex()).unwrap());
        for position in 0..32 {
            let mut other = [7; 32];
            other[position] ^= 0x80;
            assert_ne!(digest, KeyDigest::from_bytes(other));
        }
    }

    #[test]
    fn line_ends_after_a_pepper_are_no_part_of_it() {
        const PEPPER: &str = "a pepper of at least thirty-two bytes";
        const OTHER: &str = "another one of thirty-two bytes or more";
        const THIRD: &str = "a third one of thirty-two bytes or more";
        let digest = |peppers: &Peppers, index| {
            let hasher = KeyHasher::hmac_sha256(peppers.clone());
            hasher.other_digest(b"key", index).unwrap()
        };
        let expected = Peppers::new(PEPPER.as_bytes()).unwrap().current.digest(b"key");
        for end in ["", "\n", "\r\n", "\r", "\n\n", "\r\n\r\n"] {
            let text = format!("{PEPPER}{end}");
            let line = Peppers::line(&text).unwrap();
            assert_eq!(Peppers::new(line).unwrap().current.digest(b"key"), expected, "{end:?}");
            let current = Peppers::new(OTHER.as_bytes()).unwrap();
            let next = current.clone().with_next(line).unwrap();
            assert_eq!(digest(&next, 0), expected);
            // Alone, and as the second of two lines.
            let alone = current.clone().with_retired_lines(&text).unwrap();
            assert_eq!(digest(&alone, 0), expected, "{end:?}");
            let second = current.with_retired_lines(&format!("{THIRD}\r\n\n{text}")).unwrap();
            assert_eq!(digest(&second, 1), expected, "{end:?}");
            assert_eq!(second.others.len(), 2);
        }
        for bad in ["a line\nand another", "a line\rand another", "\nafter a line end"] {
            assert_eq!(Peppers::line(bad), Err(ConfigError::PepperLines));
        }
        let current = Peppers::new(PEPPER.as_bytes()).unwrap();
        assert!(current.with_retired_lines(&format!("{PEPPER}\r{OTHER}")).is_err());
    }

    #[test]
    fn short_peppers_are_refused() {
        assert_eq!(Peppers::new(&[1; 31]).unwrap_err(), ConfigError::PepperTooShort);
    }
}
