//! The keys of a system that is left behind, in its own table.

#![allow(clippy::unwrap_used, reason = "whoever cannot go on should stop")]

use std::path::Path;

use sqlx::{Connection, Executor, SqliteConnection};
use tower_api_key::{KeyFormat, KeyHasher};

/// What `SQLAlchemy` makes of the model that such systems have, on SQLite.
const SCHEMA: &str = "CREATE TABLE api_keys (
    id INTEGER NOT NULL,
    name VARCHAR(100) NOT NULL,
    key_prefix VARCHAR(8) NOT NULL,
    key_hash VARCHAR(255) NOT NULL,
    user_id INTEGER NOT NULL,
    scopes JSON,
    is_active BOOLEAN NOT NULL,
    expires_at DATETIME,
    last_used_at DATETIME,
    description TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (key_hash)
)";

pub(crate) const COUNT: usize = 10_000;

/// What a key's row says, which is what is asked of the layer afterwards.
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) user: usize,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) active: bool,
    pub(crate) expires_at: Option<&'static str>,
}

impl Row {
    pub(crate) fn number(number: usize) -> Self {
        Self {
            key: url_safe_key(),
            user: number % 321,
            scopes: [vec![], vec!["orders:read"], vec!["orders:read", "stock:*"]][number % 3]
                .clone(),
            active: !number.is_multiple_of(7),
            expires_at: [
                None,
                Some("2040-01-02 03:04:05.678901"),
                Some("2020-01-02 03:04:05.000000"),
            ][number % 11 % 3],
        }
    }
}

/// 43 characters, as `secrets.token_urlsafe(32)` makes them; `-` and `_` among them.
fn url_safe_key() -> String {
    let key = KeyFormat::opaque().generate().unwrap();
    key.expose().replace('A', "-").replace('B', "_")
}

/// Makes the table in a SQLite database.
pub(crate) async fn make_table(path: &Path, rows: &[Row]) {
    let url = format!("sqlite:{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute(SCHEMA).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let insert = "INSERT INTO api_keys (name, key_prefix, key_hash, user_id, scopes, is_active, \
        expires_at, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, '2025-01-01 12:00:00.000000')";
    for (number, row) in rows.iter().enumerate() {
        sqlx::query(insert)
            .bind(format!("key {number}"))
            .bind(&row.key[..8])
            .bind(KeyHasher::sha256().digest(&row.key).to_hex())
            .bind(i64::try_from(row.user).unwrap())
            .bind(serde_json::to_string(&row.scopes).unwrap())
            .bind(row.active)
            .bind(row.expires_at)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    connection.close().await.unwrap();
}
