//! 4. Parse, for a caller that has failed too often and has to wait.

use std::iter;

use super::{Attempt, Found, Marked, fault, peppers};
use crate::{
    auth::{config::Config, extract::Credential},
    key,
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
        let current = Attempt::new(config.hasher.digest(key), credential.source, Marked::Not);
        let mut attempts = iter::once(current).chain(peppers::others(config, key, current));
        attempts.find_map(|attempt| match config.store.find_now(&attempt.digest)? {
            Lookup::Found(record) => {
                let is_good = fault(config, request, &attempt.digest, &record).is_none();
                is_good.then(|| attempt.found(record))
            }
            Lookup::NotFound => None,
        })
    };
    config.with_key(credential, find)?
}
