//! 6. Look up: a key that the store does not know by its current digest.

use std::sync::Arc;

use super::{Attempt, Outcome, reject, with_key};
#[cfg(feature = "legacy-hashes")]
use super::{LEGACY_TURN, wait};
use crate::{
    auth::{config::Config, extract},
    key::{KeyRecord, RejectionKind},
    request::RequestHead,
};
#[cfg(feature = "legacy-hashes")]
use crate::{key::SecretKey, legacy::LegacyHashes};

/// A key that is not known under one pepper may be known under the next, or under one before it.
/// After the last, the current one has another turn: meanwhile another request may have renewed the digest, and a
/// good key must not be called unknown for that.
///
/// The key is read from the request again, which costs less than keeping copies of it.
pub(super) fn with_next_pepper(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
) -> Option<Attempt> {
    let others = config.hasher.other_count();
    let mut turn = attempt.turn as usize;
    if others == 0 || turn > others {
        return None;
    }
    while !config.hasher.accepts_other(turn, || config.clock.now()) {
        turn += 1;
    }
    let credential = extract::find(&config.sources, config.precedence, request).ok()??;
    let next = |key: &[u8]| match config.hasher.other_digest(key, turn) {
        Some(other) => other,
        None => config.hasher.digest(key),
    };
    let digest = with_key(config, &credential, next)?;
    let turn = u32::try_from(turn + 1).ok()?;
    Some(Attempt { digest, turn, ..attempt })
}

/// No store knows the key. It may be another system's, which kept a slow hash of it.
#[cold]
#[cfg_attr(
    not(feature = "legacy-hashes"),
    allow(unused_variables, reason = "without slow hashes there is nothing to find out")
)]
pub(super) fn unknown(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    #[cfg(feature = "legacy-hashes")]
    if let Some(legacy) = &config.legacy
        && attempt.turn != LEGACY_TURN
        && let Some(key) = legacy_key(config, request, legacy, &attempt)
    {
        // The last turn was the current pepper's: the digest is the one to be stored.
        let find = legacy.clone().find(attempt.digest, key);
        return wait(config, Attempt { turn: LEGACY_TURN, ..attempt }, find);
    }
    reject(RejectionKind::Unknown)
}

/// A copy of the key, for other threads to hash; none if it need not be hashed.
#[cfg(feature = "legacy-hashes")]
fn legacy_key(
    config: &Config,
    request: &RequestHead<'_>,
    legacy: &LegacyHashes,
    attempt: &Attempt,
) -> Option<SecretKey> {
    let credential = extract::find(&config.sources, config.precedence, request).ok()??;
    let copy = |key: &[u8]| {
        let key = str::from_utf8(key).ok()?;
        legacy.may_hold(&attempt.digest, key).then(|| SecretKey::new(key))
    };
    with_key(config, &credential, copy)?
}

/// A key that was found under a retired pepper, in this turn, is stored anew under the current one.
#[cold]
pub(super) fn renew_digest(
    config: &Config,
    request: &RequestHead<'_>,
    turn: u32,
    record: &Arc<KeyRecord>,
) {
    let Some(upkeep) = &config.upkeep else { return };
    if config.hasher.is_next(turn as usize - 1) {
        return;
    }
    if let Ok(Some(credential)) = extract::find(&config.sources, config.precedence, request)
        && let Some(renewed) = with_key(config, &credential, |key| config.hasher.digest(key))
        && record.digest != renewed
    {
        upkeep.renew_digest(record.clone(), renewed);
    }
}
