//! Finding many keys, several with each call of a server.

use std::{future::Future, sync::Arc};

use crate::{
    error::{StoreError, StoreErrorKind},
    key::{KeyDigest, KeyRecord},
};

pub(super) type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// Digests that one call looks up: with more of them, the way to the server and back matters no longer.
pub(super) const FOUND_AT_ONCE: usize = 128;

/// One answer for each digest, in the same order: by `find` for one, and by `find_batch` for several.
pub(super) async fn find_many<F, B>(
    digests: &[KeyDigest],
    find: impl Fn(KeyDigest) -> F,
    find_batch: impl Fn(Vec<KeyDigest>) -> B,
) -> Vec<Answer>
where
    F: Future<Output = Answer>,
    B: Future<Output = Result<Vec<Answer>, StoreError>>,
{
    let mut answers = Vec::with_capacity(digests.len());
    for digests in digests.chunks(FOUND_AT_ONCE) {
        let found = match digests {
            [_] => None,
            _ => Some(find_batch(digests.to_vec()).await),
        };
        match found {
            Some(Ok(found)) => answers.extend(found),
            Some(Err(error)) if error.kind() != StoreErrorKind::Corrupt => {
                answers.extend(digests.iter().map(|_| Err(error.clone())));
            }
            // What cannot be read may be the fault of one of them.
            Some(Err(_)) | None => {
                for digest in digests {
                    answers.push(find(*digest).await);
                }
            }
        }
    }
    answers
}
