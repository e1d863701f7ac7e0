//! Slow hashes: what they look like, what they may cost, and checking a key against one.

use std::{error::Error, fmt, str::FromStr};

use argon2::{Argon2, Params, PasswordHash, PasswordVerifier, password_hash};

use crate::{
    error::StoreError,
    key::{LegacyHash, SecretKey},
};

/// Some four seconds of one processor.
const MAX_BCRYPT_COST: u32 = 16;

/// In KiB: 256 MiB for one verification.
const MAX_ARGON2_MEMORY: u32 = 256 * 1024;

/// In KiB, over all passes: about as long as the most that bcrypt may take.
const MAX_ARGON2_WORK: u64 = 2 * 1024 * 1024;

/// What bcrypt reads of a key.
const BCRYPT_READS: usize = 72;

/// Argon2 before its version was written down (PHC string format, "Argon2").
const ARGON2_UNVERSIONED: u32 = 0x10;

impl LegacyHash {
    /// Checks a hash that another system kept: for importers.
    ///
    /// Known are bcrypt (`$2a$`, `$2b$`, `$2y$`) and argon2 (`$argon2id$`, `$argon2i$`,
    /// `$argon2d$`) of the plain key. What a row may cost is bounded, so that none can keep the
    /// service busy for minutes: bcrypt up to cost 16; argon2 up to 256 MiB, and up to 2 GiB over
    /// all passes together.
    ///
    /// ```
    /// use tower_api_key::{key::LegacyHash, legacy::InvalidLegacyHash};
    ///
    /// let kept = "$2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe";
    /// assert!(LegacyHash::parse(kept).is_ok());
    /// let endless = kept.replace("$12$", "$31$");
    /// assert_eq!(LegacyHash::parse(&endless), Err(InvalidLegacyHash::TooCostly));
    /// assert_eq!(LegacyHash::parse("5f4dcc3b5aa7"), Err(InvalidLegacyHash::UnknownScheme));
    /// ```
    pub fn parse(hash: &str) -> Result<Self, InvalidLegacyHash> {
        Scheme::of(hash)?;
        Ok(Self::new(hash))
    }

    /// Whether this is a hash of `key`. Takes as long as the hash was made to take.
    ///
    /// bcrypt reads 72 bytes of a key. What comes after them was never proven, but would be a part
    /// of the digest that is stored from then on, so longer keys match no bcrypt hash.
    pub(super) fn is_of(&self, key: &SecretKey) -> Result<bool, StoreError> {
        let key = key.expose().as_bytes();
        match Scheme::of(self.expose()).map_err(StoreError::corrupt)? {
            Scheme::Bcrypt => Ok(key.len() <= BCRYPT_READS
                && bcrypt::verify(key, self.expose())
                    .map_err(|_| StoreError::corrupt(InvalidLegacyHash::Malformed))?),
            Scheme::Argon2(hash) => match Argon2::default().verify_password(key, &*hash) {
                Ok(()) => Ok(true),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                // Such as no memory: that says nothing about the key.
                Err(error) => Err(StoreError::unavailable(error)),
            },
        }
    }
}

enum Scheme {
    Bcrypt,
    Argon2(Box<PasswordHash>),
}

impl Scheme {
    fn of(hash: &str) -> Result<Self, InvalidLegacyHash> {
        let scheme = hash.split('$').nth(1).filter(|_| hash.starts_with('$'));
        match scheme {
            // Not `2x`, which marks hashes of an old implementation that read keys wrongly.
            Some("2a" | "2b" | "2y") => bcrypt_hash(hash),
            Some("argon2id" | "argon2i" | "argon2d") => argon2_hash(hash),
            _ => Err(InvalidLegacyHash::UnknownScheme),
        }
    }
}

fn bcrypt_hash(hash: &str) -> Result<Scheme, InvalidLegacyHash> {
    let parts = bcrypt::HashParts::from_str(hash).map_err(|_| InvalidLegacyHash::Malformed)?;
    match parts.get_cost() {
        // The least that the algorithm is defined for.
        ..4 => Err(InvalidLegacyHash::Malformed),
        4..=MAX_BCRYPT_COST => Ok(Scheme::Bcrypt),
        _ => Err(InvalidLegacyHash::TooCostly),
    }
}

fn argon2_hash(hash: &str) -> Result<Scheme, InvalidLegacyHash> {
    let mut hash = PasswordHash::new(hash).map_err(|_| InvalidLegacyHash::Malformed)?;
    let params = Params::try_from(&hash).map_err(|_| InvalidLegacyHash::Malformed)?;
    let says_costs = ["m", "t", "p"].into_iter().all(|name| hash.params.get(name).is_some());
    let is_whole = says_costs && hash.salt.is_some() && hash.hash.is_some();
    // The id of a secret that the hash was made with, and that is not in it.
    let is_peppered = !params.keyid().is_empty();
    let version = *hash.version.get_or_insert(ARGON2_UNVERSIONED);
    if !is_whole || is_peppered || argon2::Version::try_from(version).is_err() {
        return Err(InvalidLegacyHash::Malformed);
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > MAX_ARGON2_MEMORY || work > MAX_ARGON2_WORK {
        return Err(InvalidLegacyHash::TooCostly);
    }
    Ok(Scheme::Argon2(Box::new(hash)))
}

/// Why a text cannot be used as a [`LegacyHash`]. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidLegacyHash {
    /// It does not begin like a hash of bcrypt or argon2.
    UnknownScheme,
    /// It begins like one, but is not one.
    Malformed,
    /// Checking a key against it would take too much memory or time.
    TooCostly,
}

impl fmt::Display for InvalidLegacyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownScheme => {
                "not a bcrypt hash ($2a$, $2b$, $2y$) nor an argon2 hash ($argon2id$, $argon2i$, \
                 $argon2d$)"
            }
            Self::Malformed => "not a whole bcrypt or argon2 hash",
            Self::TooCostly => {
                "costs too much: bcrypt may have a cost of at most 16, argon2 may take at most \
                 256 MiB, and 2 GiB over all passes"
            }
        })
    }
}

impl Error for InvalidLegacyHash {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that other implementations made, each of the key before it.
    const FOREIGN: &[(&str, &str)] = &[
        // Python, bcrypt 5.0.0
        (
            "legacy_key_of_py_bcrypt_0123456789",
            "$2b$04$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe",
        ),
        (
            "legacy_key_of_py_bcrypt_2a_0123456789",
            "$2a$04$ndUSY6CFCtm0EdCI8urZkOKHPfbatct/AGQ.2PFRVCfltiDD8MF6u",
        ),
        // Python, passlib 1.7.4
        (
            "legacy_key_of_passlib_2y_0123456789",
            "$2y$04$2b8LxxTtjkjZy/HgcwiQU.RUJQiQLuyTugzNCCSizvJK4RNSwQBFa",
        ),
        (
            "legacy_key_of_passlib_0123456789",
            "$argon2id$v=19$m=512,t=2,p=2$gJCSktJ6b+0dw5iT0tqbUw$MdCatvwuYL78tX+cDZs3BjKKt7cdbF5cYatGfm/nL6A",
        ),
        (
            "legacy_key_of_passlib_i_0123456789",
            "$argon2i$v=19$m=512,t=2,p=2$5vw/53xPCcFYa63V2rv3Hg$Aj4kvMvDOx+zDq/W8F/beb4THXV7s6Qp1bGlgmOhhbk",
        ),
        (
            "legacy_key_of_passlib_d_0123456789",
            "$argon2d$v=19$m=512,t=2,p=2$3zvH+J+z1hoDoLT2/h8jxA$PHhPbxFzTPSN57B59BbH7v3oIKPheDJfsSAgWB+1PAo",
        ),
        // Python, argon2-cffi 25.1.0; the last two are the same hash of version 0x10
        (
            "legacy_key_of_argon2_cffi_0123456789",
            "$argon2id$v=19$m=512,t=2,p=2$lQQVP+jkg4lX/pkdWmGKHA$3QDIXpBjddAS8gWif/r4K8IcRuPaLGB4VPMcXksi/C4",
        ),
        (
            "legacy_key_of_version_16_0123456789",
            "$argon2i$v=16$m=512,t=2,p=2$MDEyMzQ1Njc4OWFiY2RlZg$RimHrncEQ+FE6YterhKCIs3ThxL+BzNE2Ov/kSkiLZA",
        ),
        (
            "legacy_key_of_version_16_0123456789",
            "$argon2i$m=512,t=2,p=2$MDEyMzQ1Njc4OWFiY2RlZg$RimHrncEQ+FE6YterhKCIs3ThxL+BzNE2Ov/kSkiLZA",
        ),
    ];

    #[test]
    fn hashes_of_other_implementations() {
        for (key, hash) in FOREIGN {
            let parsed = LegacyHash::parse(hash).expect(hash);
            assert!(parsed.is_of(&SecretKey::new(*key)).unwrap(), "{hash}");
            assert!(!parsed.is_of(&SecretKey::new(format!("{key}0"))).unwrap(), "{hash}");
        }
    }

    #[test]
    fn what_bcrypt_does_not_read_is_not_proven() {
        for (len, expected) in [(71, true), (72, true), (73, false)] {
            let key = "k".repeat(len);
            let hash = LegacyHash::parse(&bcrypt::hash(&key, 4).unwrap()).unwrap();
            assert_eq!(hash.is_of(&SecretKey::new(key)).unwrap(), expected, "{len} bytes");
        }
    }

    #[test]
    fn what_is_no_hash() {
        use InvalidLegacyHash::{Malformed, TooCostly, UnknownScheme};
        let bcrypt = FOREIGN[0].1;
        let argon2 = FOREIGN[3].1;
        let with = |params: &str| argon2.replace("m=512,t=2,p=2", params);
        for (text, expected) in [
            (String::new(), UnknownScheme),
            ("$".into(), UnknownScheme),
            ("2b$04$".into(), UnknownScheme),
            (bcrypt.replace("$2b$", "$2x$"), UnknownScheme),
            (bcrypt.replace("$2b$", "$5$"), UnknownScheme),
            (argon2.replace("argon2id", "argon2"), UnknownScheme),
            (bcrypt[..59].into(), Malformed),
            (format!("{bcrypt}x"), Malformed),
            ("$2b$04$".to_owned() + &"ä".repeat(26) + "x", Malformed),
            (bcrypt.replace("$04$", "$03$"), Malformed),
            (bcrypt.replace("$04$", "$xx$"), Malformed),
            (bcrypt.replace("$04$", "$17$"), TooCostly),
            (bcrypt.replace("$04$", "$99$"), TooCostly),
            (with("m=512,t=2,p=2,keyid=c2VjcmV0"), Malformed),
            (with("m=512,t=2"), Malformed),
            (with("m=8,t=2,p=2"), Malformed),
            (with("m=512,t=0,p=2"), Malformed),
            (with("m=512,t=99999999999,p=2"), Malformed),
            (argon2.replace("v=19", "v=20"), Malformed),
            (argon2.rsplit_once('$').unwrap().0.into(), Malformed),
            (with("m=262145,t=1,p=1"), TooCostly),
            (with("m=4294967295,t=1,p=1"), TooCostly),
            (with("m=512,t=4294967295,p=1"), TooCostly),
            (with("m=131072,t=17,p=1"), TooCostly),
        ] {
            assert_eq!(LegacyHash::parse(&text), Err(expected), "{text}");
        }
        for good in [with("m=262144,t=8,p=4"), bcrypt.replace("$04$", "$16$")] {
            assert!(LegacyHash::parse(&good).is_ok(), "{good}");
        }
    }
}
