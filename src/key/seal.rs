//! [`IssuerSecrets`]: seals, by which a key shows that this service has issued it.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    checksum::{number, six_digits},
    digest::{KeyDigest, KeyHasher, are_equal},
    keyed,
    sha256::HmacKey,
};
use crate::error::ConfigError;

/// Two groups of six base62 characters: 71 bits.
pub(super) const SEAL_LEN: usize = 12;

/// The secrets under which a [sealed](crate::KeyFormat::sealed) format issues keys. Each is in one
/// of three states:
///
/// | state | keys sealed under it are accepted | keys are sealed under it |
/// |---|---|---|
/// | *next* | yes | never |
/// | *current* | yes | new keys |
/// | *retired* | yes | no longer |
///
/// A secret has at least 32 bytes, is no [pepper](crate::Peppers), and is wiped on drop.
///
/// # The seal
///
/// The last twelve characters of a key are two groups of six base62 digits. Each is a number of
/// eight bytes, big-endian, modulo 62⁶. The numbers are the first sixteen bytes of HMAC-SHA256, over
/// all that stands before the seal, under the key `HMAC-SHA256(secret, "tower-api-key seal")`.
///
/// # Changing the secret
///
/// With several nodes, a node with the old configuration must accept what one with the new issues:
///
/// 1. Add the new secret as *next*, and wait until every node has it.
/// 2. Make it current and the old one retired, node by node.
/// 3. Rotate the keys that were issued before. A seal is a part of its key, so nothing is stored
///    anew by being used, as it is with peppers. Once none of these keys is wanted, take the retired
///    secret away: they are malformed from then on.
///
/// To go back from step 2, go back to step 1: the new secret becomes *next* again, and keys that were
/// issued under it are accepted. Going back further would lock them out.
///
/// # From no seal to one
///
/// The same, where the old way is the checksum: [`unsealed_with_next`](Self::unsealed_with_next) is
/// step 1, and [`new`](Self::new) step 2. Keys with a checksum are accepted until
/// [`KeyFormat::sealed_only`](crate::KeyFormat::sealed_only), which is step 3.
///
/// ```
/// use tower_api_key::{IssuerSecrets, KeyFormat, KeyHasher};
///
/// let (old, new) = (b"the old secret, 32 bytes or more..", b"the new secret, 32 bytes or more..");
/// let format = |secrets| KeyFormat::new("acme")?.sealed(secrets, &KeyHasher::sha256());
/// // On every node, before any node has the second line.
/// let first = format(IssuerSecrets::new(old)?.with_next(new)?)?;
/// let then = format(IssuerSecrets::new(new)?.with_retired(old)?)?;
///
/// for key in [first.generate()?, then.generate()?] {
///     assert!(first.recognizes(key.expose()) && then.recognizes(key.expose()));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct IssuerSecrets {
    /// Without one, keys are issued with a checksum.
    current: Option<Sealer>,
    /// The next one first, then the retired ones, the latest first.
    others: Vec<Other>,
}

impl IssuerSecrets {
    /// A current secret of at least 32 bytes and no others.
    pub fn new(current: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self { current: Some(Sealer::new(current)?), others: Vec::new() })
    }

    /// No current secret, so that keys are issued with a checksum, and keys sealed under this one
    /// are accepted as well: the first step from no seal to one.
    pub fn unsealed_with_next(next: &[u8]) -> Result<Self, ConfigError> {
        Self { current: None, others: Vec::new() }.with_next(next)
    }

    /// The current secret from an environment variable: a [line](Self::line) of at least 32 bytes.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        let expected = "an issuer secret of at least 32 bytes, on one line";
        keyed::from_env(variable, expected, |value| Self::line(value).and_then(Self::new))
    }

    /// The secret in this text, by the rule of [`Peppers`](crate::Peppers#line-ends): the one line
    /// without the line ends after it.
    pub fn line(text: &str) -> Result<&[u8], ConfigError> {
        keyed::line(text, ConfigError::IssuerSecretLines)
    }

    /// Sets the secret that is to become the current one. Keys that another node issued under it
    /// are accepted. Nothing changes if it is current already; it is retired no longer.
    pub fn with_next(mut self, next: &[u8]) -> Result<Self, ConfigError> {
        let (sealer, is_next) = (Sealer::new(next)?, true);
        let same = sealer.fingerprint();
        self.others.retain(|other| !other.is_next && other.sealer.fingerprint() != same);
        if !self.hold(&sealer) {
            self.others.insert(0, Other { sealer, is_next });
        }
        Ok(self)
    }

    /// Adds a retired secret. Add the latest first: they are tried in this order, and each of them
    /// costs a forged key two compressions of SHA-256. Nothing changes if it is current, next or
    /// retired already.
    pub fn with_retired(mut self, retired: &[u8]) -> Result<Self, ConfigError> {
        let sealer = Sealer::new(retired)?;
        if !self.hold(&sealer) {
            self.others.push(Other { sealer, is_next: false });
        }
        Ok(self)
    }

    /// Adds the retired secrets in this text, the latest first: each is a [line](Self::line), and
    /// empty lines are passed over.
    pub fn with_retired_lines(self, text: &str) -> Result<Self, ConfigError> {
        keyed::lines(text).try_fold(self, |secrets, line| secrets.with_retired(Self::line(line)?))
    }

    /// Whether keys are issued with a seal.
    pub(super) const fn seals(&self) -> bool {
        self.current.is_some()
    }

    /// The seal of a new key; none if it is to have a checksum.
    pub(super) fn seal(&self, text: &[u8]) -> Option<[[u8; 6]; 2]> {
        Some(self.current.as_ref()?.seal(text).map(six_digits))
    }

    /// Whether the digits, which must be base62, are the seal of the text under any of the secrets.
    pub(super) fn accept(&self, text: &[u8], seal: [u8; SEAL_LEN]) -> bool {
        let (&[first, second], []) = seal.as_chunks() else { return false };
        let seal = [first, second].map(number);
        self.sealers().any(|sealer| are_equal(sealer.seal(text), seal))
    }

    fn sealers(&self) -> impl Iterator<Item = &Sealer> {
        self.current.iter().chain(self.others.iter().map(|other| &other.sealer))
    }

    /// Whether none of these secrets is a pepper of this hasher.
    pub(super) fn are_apart_from(&self, hasher: &KeyHasher) -> bool {
        hasher.peppers().all(|pepper| !self.hold(&Sealer::of(pepper)))
    }

    /// Whether this is one of the secrets, in whatever state.
    fn hold(&self, sealer: &Sealer) -> bool {
        let fingerprint = sealer.fingerprint();
        self.sealers().any(|sealer| sealer.fingerprint() == fingerprint)
    }

    /// Whether these are the same secrets in the same states.
    pub(super) fn are_the_same(&self, others: &Self) -> bool {
        let all = |secrets: &Self| -> Vec<_> {
            let current = secrets.current.iter().map(|current| (current.fingerprint(), None));
            let others = secrets.others.iter();
            let others = others.map(|other| (other.sealer.fingerprint(), Some(other.is_next)));
            current.chain(others).collect()
        };
        all(self) == all(others)
    }
}

impl fmt::Debug for IssuerSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = if self.seals() { "current" } else { "no current" };
        let next = self.others.iter().filter(|other| other.is_next).count();
        let retired = self.others.len() - next;
        write!(f, "IssuerSecrets({current}, {next} next, {retired} retired)")
    }
}

/// A secret under which keys are accepted and never sealed.
#[derive(Clone)]
struct Other {
    sealer: Sealer,
    is_next: bool,
}

/// A secret that seals.
#[derive(Clone)]
struct Sealer(HmacKey);

impl Sealer {
    /// Keeps seals apart from digests under peppers, and from what else is made of the secret.
    const LABEL: &[u8] = b"tower-api-key seal";

    fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self::of(&keyed::keyed(secret, ConfigError::IssuerSecretTooShort)?))
    }

    fn of(secret: &HmacKey) -> Self {
        Self(HmacKey::new(&*Zeroizing::new(secret.mac(Self::LABEL))))
    }

    fn seal(&self, text: &[u8]) -> [u64; 2] {
        /// 62⁶. That it does not divide 2⁶⁴ makes some seals likelier than others by one part in
        /// 2²⁸.
        const SIX_DIGITS: u64 = 62_u64.pow(6);
        let mac = self.0.mac(text);
        let mut seal = [0; 2];
        for (number, bytes) in seal.iter_mut().zip(mac.as_chunks::<8>().0) {
            *number = u64::from_be_bytes(*bytes) % SIX_DIGITS;
        }
        seal
    }

    fn fingerprint(&self) -> KeyDigest {
        self.0.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Peppers;

    /// Made with Python:
    ///
    /// ```python
    /// def six(n):
    ///     return ''.join(BASE62[n // 62**i % 62] for i in (5, 4, 3, 2, 1, 0))
    ///
    /// key = hmac.new(secret, b'tower-api-key seal', hashlib.sha256).digest()
    /// mac = hmac.new(key, text, hashlib.sha256).digest()
    /// seal = six(int.from_bytes(mac[:8], 'big')) + six(int.from_bytes(mac[8:16], 'big'))
    /// ```
    #[test]
    fn known_seals() {
        let from_0: Vec<u8> = (0..32).collect();
        for (secret, text, seal) in [
            (
                &b"an issuer secret of thirty-two bytes or more"[..],
                "acme_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "yeaucm96wfgR",
            ),
            (&from_0, "key_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg", "veqOPpfFzItj"),
            // Longer than a block of SHA-256.
            (&[0xff; 131], "shop_test_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "9czZTqTaNL8v"),
        ] {
            let secrets = IssuerSecrets::new(secret).unwrap();
            assert_eq!(secrets.seal(text.as_bytes()).unwrap().concat(), seal.as_bytes());
            let seal = seal.as_bytes().try_into().unwrap();
            assert!(secrets.accept(text.as_bytes(), seal));
        }
    }

    proptest! {
        #[test]
        fn seals_are_read_back(
            secret in proptest::collection::vec(any::<u8>(), 32..100),
            text: Vec<u8>,
            other in "[0-9A-Za-z]{12}",
        ) {
            let secrets = IssuerSecrets::new(&secret).unwrap();
            let seal: [u8; SEAL_LEN] = secrets.seal(&text).unwrap().concat().try_into().unwrap();
            let other: [u8; SEAL_LEN] = other.as_bytes().try_into().unwrap();
            prop_assert!(secrets.accept(&text, seal));
            prop_assert_eq!(secrets.accept(&text, other), other == seal);
        }
    }

    #[test]
    fn a_pepper_is_found_in_every_state() {
        let [one, two, three, other] = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let secrets = IssuerSecrets::new(&one).unwrap();
        let secrets = secrets.with_next(&two).unwrap().with_retired(&three).unwrap();
        let are_apart = |peppers| secrets.are_apart_from(&KeyHasher::hmac_sha256(peppers));
        for shared in [one, two, three] {
            let current = Peppers::new(&other).unwrap();
            assert!(are_apart(current.clone()));
            assert!(!are_apart(Peppers::new(&shared).unwrap()));
            assert!(!are_apart(current.clone().with_next(&shared).unwrap()));
            assert!(!are_apart(current.with_retired(&shared).unwrap()));
        }
        assert!(secrets.are_apart_from(&KeyHasher::sha256()));
        let next = KeyHasher::sha256_with_next(&two).unwrap();
        assert!(!secrets.are_apart_from(&next));
    }

    #[test]
    fn a_secret_has_one_state() {
        let [one, two, three] = [[1; 32], [2; 32], [3; 32]];
        let states = |secrets: &IssuerSecrets| format!("{secrets:?}");
        let secrets = IssuerSecrets::new(&one).unwrap().with_next(&two).unwrap();
        let secrets = secrets.with_retired(&three).unwrap();
        assert_eq!(states(&secrets), "IssuerSecrets(current, 1 next, 1 retired)");
        for same in [one, two, three] {
            let again = secrets.clone().with_retired(&same).unwrap();
            assert!(again.are_the_same(&secrets), "a secret costs a forged key once");
        }
        let promoted = secrets.clone().with_next(&one).unwrap();
        assert_eq!(states(&promoted), "IssuerSecrets(current, 0 next, 1 retired)");
        let back = secrets.with_next(&three).unwrap();
        assert_eq!(states(&back), "IssuerSecrets(current, 1 next, 0 retired)");
    }

    #[test]
    fn line_ends_after_a_secret_are_no_part_of_it() {
        const SECRET: &str = "an issuer secret of at least thirty-two bytes";
        const OTHER: &str = "another one of thirty-two bytes or more";
        let expected = IssuerSecrets::new(SECRET.as_bytes()).unwrap();
        for end in ["", "\n", "\r\n", "\r", "\n\n", "\r\n\r\n"] {
            let text = format!("{SECRET}{end}");
            let line = IssuerSecrets::line(&text).unwrap();
            assert!(IssuerSecrets::new(line).unwrap().are_the_same(&expected), "{end:?}");
            let retired = || IssuerSecrets::new(OTHER.as_bytes()).unwrap();
            let by_lines = retired().with_retired_lines(&format!("\r\n{text}")).unwrap();
            let one_by_one = retired().with_retired(SECRET.as_bytes()).unwrap();
            assert!(by_lines.are_the_same(&one_by_one), "{end:?}");
        }
        for bad in ["a line\nand another", "a line\rand another", "\nafter a line end"] {
            assert_eq!(IssuerSecrets::line(bad), Err(ConfigError::IssuerSecretLines));
        }
    }

    #[test]
    fn short_secrets_are_refused() {
        let (short, good) = ([1; 31], IssuerSecrets::new(&[1; 32]).unwrap());
        for error in [
            IssuerSecrets::new(&short),
            IssuerSecrets::unsealed_with_next(&short),
            good.clone().with_next(&short),
            good.clone().with_retired(&short),
            good.with_retired_lines("short"),
        ] {
            assert_eq!(error.unwrap_err(), ConfigError::IssuerSecretTooShort);
        }
    }
}
