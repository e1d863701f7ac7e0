//! [`KeyDigest`] and [`KeyHasher`]: what is stored instead of a key. The only file that compares
//! digests.

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, block_api::compress256};
use subtle::ConstantTimeEq;
use zeroize::optimization_barrier;

use crate::error::ConfigError;

/// The 32 bytes by which a key is stored and looked up.
///
/// `==` takes the same time wherever the digests differ. `Debug` shows nothing: a digest does
/// not belong in a log, where it would let anyone who holds a key check whose it is.
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
    /// use tower_api_key::{KeyDigest, KeyHasher};
    ///
    /// // What `hashlib.sha256(b"my-key-from-python").hexdigest()` wrote.
    /// let stored = "48e4389fe9be1b939c761ccc20b69bf962af209365732a074a6d10f5e6423a4b";
    /// let digest = KeyHasher::sha256().digest("my-key-from-python");
    /// assert_eq!(KeyDigest::from_hex(stored), Some(digest));
    /// assert_eq!(KeyDigest::from_hex("48e4"), None);
    /// ```
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
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
    /// In constant time: the differences of all four words are gathered before one comparison,
    /// which `subtle` keeps free of branches. Comparing byte by byte costs four times as much.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.words().into_iter().zip(other.words());
        let difference = pairs.fold(0, |all, (a, b)| all | (a ^ b));
        difference.ct_eq(&0).into()
    }
}

impl Eq for KeyDigest {}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// How a key becomes a [`KeyDigest`].
///
/// Plain SHA-256 by default. A fast hash is right here: keys carry 256 random bits, so there is
/// nothing to guess, and a slow hash on every request is a gift to whoever wants the service down
/// (NIST SP 800-63B-4 §3.1.2 allows an approved plain hash from 112 bits of entropy).
///
/// With [`Peppers`], HMAC-SHA256 under a secret that is not in the database: somebody who can
/// write rows still cannot make a key that works.
#[derive(Clone, Default)]
pub struct KeyHasher(Option<Arc<Peppers>>);

impl KeyHasher {
    /// SHA-256 of the whole key string: rows that other systems made as `sha256(key)` work as
    /// they are.
    pub const fn sha256() -> Self {
        Self(None)
    }

    /// HMAC-SHA256 under the current pepper; keys stored under a retired one are still found.
    pub fn hmac_sha256(peppers: Peppers) -> Self {
        Self(Some(Arc::new(peppers)))
    }

    /// The digest to store for `key`.
    #[inline]
    pub fn digest(&self, key: impl AsRef<[u8]>) -> KeyDigest {
        let key = key.as_ref();
        match &self.0 {
            None => KeyDigest(sha256(key)),
            Some(peppers) => hmac(&peppers.current, key),
        }
    }

    /// The digest that `key` had under the `index`th retired pepper, the latest first.
    pub(crate) fn retired_digest(&self, key: &[u8], index: usize) -> Option<KeyDigest> {
        let pepper = self.0.as_ref()?.retired.get(index)?;
        Some(hmac(pepper, key))
    }

    /// How many retired peppers there are to try.
    pub(crate) fn retired_count(&self) -> usize {
        self.0.as_ref().map_or(0, |peppers| peppers.retired.len())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "KeyHasher(SHA-256)",
            Some(_) => "KeyHasher(HMAC-SHA256)",
        })
    }
}

/// SHA-256 (FIPS 180-4 §6.2).
///
/// A key of up to 55 bytes fits one block and goes straight to the compression function: the
/// general hasher's bookkeeping would cost as many instructions again as the compression with SHA
/// extensions does.
#[inline]
fn sha256(key: &[u8]) -> [u8; 32] {
    const BLOCK_LEN: usize = 64;
    /// §5.3.3
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let mut block = [0; BLOCK_LEN];
    // §5.1.1: a one bit ends the message, and the last eight bytes are its length in bits.
    let (message, length) = block.split_at_mut(BLOCK_LEN - 8);
    let Some((start, [end, ..])) = message.split_at_mut_checked(key.len()) else {
        return Sha256::digest(key).into();
    };
    start.copy_from_slice(key);
    *end = 0x80;
    length.copy_from_slice(&(key.len() as u64 * 8).to_be_bytes());

    let mut state = INITIAL;
    compress256(&mut state, std::slice::from_ref(&block));
    block.fill(0);
    optimization_barrier(&block); // The copy of the key is gone for good.

    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// The secrets that [`KeyHasher::hmac_sha256`] mixes into digests: one current, any number
/// retired.
///
/// To change the pepper, move the current one to the retired and set a new one. Keys stored under
/// a retired pepper keep working; a layer from [`KeyManager::layer`](crate::KeyManager::layer)
/// also stores them anew under the current pepper when they are next used.
///
/// ```
/// use tower_api_key::{KeyHasher, Peppers};
///
/// let peppers = Peppers::new(b"the new pepper, 32 bytes or more..")?
///     .with_retired(b"the old pepper, 32 bytes or more..")?;
/// let hasher = KeyHasher::hmac_sha256(peppers);
/// # let _ = hasher;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Peppers {
    /// Keyed once and cloned for each digest, which saves two of the four SHA-256 blocks.
    current: Hmac<Sha256>,
    retired: Vec<Hmac<Sha256>>,
}

/// As long as the digest: RFC 2104 §3 advises against anything shorter.
const MIN_PEPPER_LEN: usize = 32;

impl Peppers {
    /// A current pepper of at least 32 bytes and no retired ones.
    pub fn new(current: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self { current: keyed(current)?, retired: Vec::new() })
    }

    /// The current pepper from an environment variable: its bytes as they are, at least 32.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        let value = zeroize::Zeroizing::new(
            std::env::var(variable)
                .map_err(|_| ConfigError::EnvironmentUnset { variable: variable.to_owned() })?,
        );
        Self::new(value.as_bytes()).map_err(|_| ConfigError::EnvironmentValue {
            variable: variable.to_owned(),
            expected: "a pepper of at least 32 bytes",
        })
    }

    /// Adds a retired pepper. Add the latest first: they are tried in this order.
    pub fn with_retired(mut self, retired: &[u8]) -> Result<Self, ConfigError> {
        self.retired.push(keyed(retired)?);
        Ok(self)
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peppers(current, {} retired)", self.retired.len())
    }
}

fn keyed(pepper: &[u8]) -> Result<Hmac<Sha256>, ConfigError> {
    if pepper.len() < MIN_PEPPER_LEN {
        return Err(ConfigError::PepperTooShort);
    }
    Hmac::new_from_slice(pepper).map_err(|_| ConfigError::PepperTooShort)
}

fn hmac(pepper: &Hmac<Sha256>, key: &[u8]) -> KeyDigest {
    KeyDigest(pepper.clone().chain_update(key).finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sha256_of_the_whole_key() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHasher::sha256().digest("abc").to_hex(), expected);
    }

    proptest! {
        #[test]
        fn one_block_or_many(key in proptest::collection::vec(any::<u8>(), 0..130)) {
            prop_assert_eq!(sha256(&key), <[u8; 32]>::from(Sha256::digest(&key)));
        }
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
    fn short_peppers_are_refused() {
        assert_eq!(Peppers::new(&[1; 31]).unwrap_err(), ConfigError::PepperTooShort);
    }
}
