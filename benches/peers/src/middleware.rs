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

#[cfg(feature = "http")]
pub use self::over_sqlite::{CachedDatabase, with_moka_over_sqlite};

#[cfg(feature = "http")]
mod over_sqlite {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use axum::{
        body::Body,
        extract::{Request, State},
        middleware::Next,
        response::Response,
    };
    use sha2::{Digest, Sha256};
    use sqlx::{Row, SqlitePool};
    use subtle::ConstantTimeEq;

    use super::Cache;
    use crate::{
        by_hand::{Record, Records, SCOPE, empty_denial},
        requests::X_API_KEY,
    };

    /// A table of keys, and a cache in front of it.
    #[derive(Clone, Debug)]
    pub struct CachedDatabase {
        cache: Cache,
        pool: SqlitePool,
    }

    impl CachedDatabase {
        /// A table in this file, with these keys.
        pub async fn filled(pool: SqlitePool, records: &Records) -> Result<Self, sqlx::Error> {
            let table = "CREATE TABLE keys (digest BLOB PRIMARY KEY, id BLOB NOT NULL, name TEXT NOT NULL, \
                owner TEXT NOT NULL, scopes TEXT NOT NULL, revoked INTEGER NOT NULL, expires INTEGER)";
            sqlx::query(table).execute(&pool).await?;
            let mut transaction = pool.begin().await?;
            for record in records.values() {
                sqlx::query("INSERT INTO keys VALUES (?, ?, ?, ?, ?, 0, NULL)")
                    .bind(&record.digest[..])
                    .bind(&record.id[..])
                    .bind(&record.name)
                    .bind(&record.owner)
                    .bind(record.scopes.join(" "))
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            let cache = Cache::builder().max_capacity(100_000);
            let cache = cache.time_to_live(Duration::from_secs(30)).build();
            Ok(Self { cache, pool })
        }

        async fn find(&self, digest: [u8; 32]) -> Result<Option<Arc<Record>>, sqlx::Error> {
            let row = sqlx::query(
                "SELECT id, name, owner, scopes, revoked, expires FROM keys WHERE digest = ?",
            );
            let row = row.bind(digest.to_vec()).fetch_optional(&self.pool).await?;
            row.map(|row| {
                let scopes: &str = row.try_get(3)?;
                let expires: Option<i64> = row.try_get(5)?;
                let after = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
                Ok(Arc::new(Record {
                    id: row.try_get::<&[u8], _>(0)?.try_into().unwrap_or_default(),
                    digest,
                    name: row.try_get(1)?,
                    owner: row.try_get(2)?,
                    scopes: scopes.split(' ').map(str::to_owned).collect(),
                    is_revoked: row.try_get(4)?,
                    expires_at: expires.map(|seconds| SystemTime::UNIX_EPOCH + after(seconds)),
                }))
            })
            .transpose()
        }
    }

    /// Asks a cache, and a table where it does not know. Concurrent requests with the same key ask once.
    pub async fn with_moka_over_sqlite(
        State(keys): State<CachedDatabase>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let Some(key) = request.headers().get(X_API_KEY) else { return empty_denial::<Body>() };
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let query = async { keys.find(digest).await.ok().flatten() };
        let Some(record) = keys.cache.optionally_get_with(digest, query).await else {
            return empty_denial();
        };
        let is_same = bool::from(record.digest.ct_eq(&digest));
        if !is_same || !record.is_valid() || !record.has_scope(SCOPE) {
            return empty_denial();
        }
        request.extensions_mut().insert(record);
        next.run(request).await
    }
}
