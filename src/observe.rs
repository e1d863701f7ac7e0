//! What the crate tells `tracing`. Without that feature, nothing. Never a key and never a digest.

#[cfg(feature = "tracing")]
use std::error::Error;

use crate::{KeyId, Rejection, store::StoreError};

/// A request was denied. The service's own trouble is a warning; a caller's is for debugging.
pub(crate) fn denied(rejection: &Rejection) {
    #[cfg(feature = "tracing")]
    {
        let code = rejection.kind().code();
        if rejection.kind().status().is_server_error() {
            let cause = chain(rejection.source());
            tracing::warn!(code, cause, "request denied");
        } else if let Some(key) = rejection.key() {
            tracing::debug!(code, %key, "request denied");
        } else {
            tracing::debug!(code, "request denied");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = rejection;
}

/// A key could not be stored under the current pepper.
pub(crate) fn renewal_failed(key: KeyId, error: &StoreError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%key, cause = chain(Some(error)), "digest not renewed; its next use tries again");
    #[cfg(not(feature = "tracing"))]
    let _ = (key, error);
}

/// Counts of uses could not be written.
pub(crate) fn uses_not_written(error: &StoreError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "uses not written; they are kept and tried again");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}

/// An error and its sources in a line.
#[cfg(feature = "tracing")]
fn chain(mut error: Option<&(dyn Error + 'static)>) -> String {
    let mut texts = Vec::new();
    while let Some(link) = error {
        texts.push(link.to_string());
        error = link.source();
    }
    texts.join(": ")
}
