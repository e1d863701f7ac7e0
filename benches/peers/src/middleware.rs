//! `axum::middleware::from_fn` with the checks of the floor, as most axum applications have them.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::{
    by_hand::{Records, check, empty_denial},
    requests::X_API_KEY,
};

/// Asks a map.
pub async fn with_map(
    State(records): State<Arc<Records>>,
    mut request: Request,
    next: Next,
) -> Response {
    match check::<true>(&records, request.headers().get(X_API_KEY)) {
        Some(record) => {
            request.extensions_mut().insert(record.clone());
            next.run(request).await
        }
        None => empty_denial::<Body>(),
    }
}

#[cfg(feature = "moka")]
pub use self::cached::{Cache, with_moka};

#[cfg(feature = "moka")]
mod cached {
    use std::sync::Arc;

    use axum::{
        body::Body,
        extract::{Request, State},
        middleware::Next,
        response::Response,
    };
    use sha2::{Digest, Sha256};
    use subtle::ConstantTimeEq;

    use crate::{
        by_hand::{Record, SCOPE, empty_denial},
        requests::X_API_KEY,
    };

    /// The cache of an application.
    pub type Cache = moka::future::Cache<[u8; 32], Arc<Record>>;

    /// Asks a cache that has all keys.
    pub async fn with_moka(
        State(cache): State<Cache>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let Some(key) = request.headers().get(X_API_KEY) else { return empty_denial::<Body>() };
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let Some(record) = cache.get(&digest).await else { return empty_denial() };
        let is_same = bool::from(record.digest.ct_eq(&digest));
        if !is_same || !record.is_valid() || !record.has_scope(SCOPE) {
            return empty_denial();
        }
        request.extensions_mut().insert(record);
        next.run(request).await
    }
}
