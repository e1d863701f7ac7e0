//! 4. Parse, for a caller that has failed too often and has to wait.

use std::sync::Arc;

use super::{Attempt, Found, is_address_allowed};
use crate::{
    auth::{config::Config, extract::Credential},
    key::{self, KeyDigest, KeyRecord},
    request::RequestHead,
    store::Lookup,
};

/// The key of such a caller, if it is let in all the same: one that was generated, and that the store
/// has in memory as a good one. Nothing else about it is found out, and nothing is looked up, so to
/// try keys like this teaches a guesser nothing; it would have to guess 256 bits.
///
/// A key that a person chose may be guessed, so it has to wait like the rest.
#[cold]
pub(super) fn known_key(
    config: &Config,
    request: &RequestHead<'_>,
    credential: &Credential<'_>,
) -> Option<Found> {
    let find = |key: &[u8]| {
        if !key::is_prefixed(&config.formats, key) {
            return None;
        }
        let find = |digest: KeyDigest, turn| match config.store.find_now(&digest) {
            Some(Lookup::Found(record)) if is_good(config, request, &digest, &record) => {
                let attempt = Attempt::new(digest, credential.source);
                Some(Attempt { turn, ..attempt }.found(record))
            }
            _ => None,
        };
        find(config.hasher.digest(key), 0).or_else(|| {
            (0..config.hasher.other_count()).find_map(|index| {
                let is_accepted = config.hasher.accepts_other(index, || config.clock.now());
                let digest = is_accepted.then(|| config.hasher.other_digest(key, index))??;
                find(digest, u32::try_from(index + 1).ok()?)
            })
        })
    };
    config.with_key(credential, find)?
}

fn is_good(
    config: &Config,
    request: &RequestHead<'_>,
    digest: &KeyDigest,
    record: &Arc<KeyRecord>,
) -> bool {
    let allowed = record.details.get().map_or(&[][..], |details| &details.allowed_addresses);
    record.digest == *digest
        && !record.is_deleted()
        && record.status_by(|| config.clock.now()).rejection().is_none()
        && (allowed.is_empty() || is_address_allowed(config, request, allowed))
}
