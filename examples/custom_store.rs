//! A store of your own: here, keys in a JSON file that some other program writes.
//!
//! ```sh
//! cargo run --example custom_store
//! ```
//!
//! Reads the file `KEYS_FILE`, or makes one with a new key in it. Change it while the server runs:
//! set `"disabled": true` and the key is refused (401); break the JSON or move the file away, and
//! the store cannot tell whether the key is good (503).

#![expect(clippy::print_stdout, reason = "it prints commands to try")]

use std::{env, error::Error, path::PathBuf, process, sync::Arc};

use async_trait::async_trait;
use axum::{Extension, Router, routing::get};
use serde::{Deserialize, Serialize};
use tokio::{fs, net::TcpListener};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyFormat, KeyHasher, KeyId, OwnerId, SecretKey, Timestamp,
    clock::{Clock, SystemClock},
    key::{KeyDigest, KeyRecord},
    store::{KeyStore, StoreError},
};

/// Keys in a file. It is read for every request, so that a change counts at once.
struct KeyFile {
    path: PathBuf,
}

/// A key in the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: KeyId,
    /// The output of `printf %s KEY | sha256sum`.
    sha256: String,
    name: String,
    owner: Option<OwnerId>,
    created_at: Timestamp,
    #[serde(default)]
    disabled: bool,
}

#[async_trait]
impl KeyStore for KeyFile {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        // Only a file that was read can say that there is no such key: everything else is an
        // error, which the caller sees as 503 and not as 401.
        let text = fs::read(&self.path).await.map_err(StoreError::unavailable)?;
        let entries: Vec<Entry> = serde_json::from_slice(&text).map_err(StoreError::corrupt)?;
        for entry in entries {
            let stored = KeyDigest::from_hex(&entry.sha256)
                .ok_or_else(|| StoreError::corrupt(format!("sha256 of {}", entry.id)))?;
            if stored == *digest {
                return Ok(Some(Arc::new(entry.into_record(stored))));
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn into_record(self, digest: KeyDigest) -> KeyRecord {
        let mut record = KeyRecord::new(self.id, digest, self.name, self.created_at);
        record.owner = self.owner;
        record.disabled = self.disabled;
        record
    }
}

async fn whoami(Extension(key): Extension<AuthenticatedKey>) -> String {
    let owner = key.owner().map_or("no owner", OwnerId::as_str);
    format!("You are {}, a key of {owner}.\n", key.name())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (path, key) = match env::var_os("KEYS_FILE") {
        Some(path) => (PathBuf::from(path), None),
        None => make_file().await.map(|(path, key)| (path, Some(key)))?,
    };
    println!("The keys are in {}.", path.display());
    let app = Router::new().route("/whoami", get(whoami)).layer(ApiKeyLayer::new(KeyFile { path }));

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}/whoami", listener.local_addr()?);
    let key = key.as_ref().map_or("A KEY OF YOURS", SecretKey::expose);
    println!("curl -H 'X-API-Key: {key}' {url}");
    axum::serve(listener, app).await?;
    Ok(())
}

/// Makes a file with a new key in it.
async fn make_file() -> Result<(PathBuf, SecretKey), Box<dyn Error>> {
    let now = SystemClock.now();
    let secret = KeyFormat::opaque().generate()?;
    let entry = Entry {
        id: KeyId::generate(now)?,
        sha256: KeyHasher::sha256().digest(secret.expose()).to_hex(),
        name: "the first caller".to_owned(),
        owner: Some("user-1".into()),
        created_at: now,
        disabled: false,
    };
    let path = env::temp_dir().join(format!("keys-{}.json", process::id()));
    fs::write(&path, serde_json::to_vec_pretty(&[entry])?).await?;
    Ok((path, secret))
}
