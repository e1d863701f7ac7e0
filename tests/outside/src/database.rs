//! An application with a table of keys of its own, which it reads by another SQLite driver than the
//! one of this crate's `SqliteStore`.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use rusqlite::{Connection, OptionalExtension};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, Timestamp, async_trait,
    key::{KeyDigest, KeyRecord},
    store::{KeyStore, StoreError},
};

use crate::client::{KEY, assert_denied, greeting};

const IN_TABLE: &str = "a-key-in-a-table-of-the-application";

struct Table(Mutex<Connection>);

#[async_trait]
impl KeyStore for Table {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let sql = "SELECT name FROM keys WHERE digest = ?1";
        let name = self.0.lock().unwrap().query_row(sql, [digest.as_bytes()], |row| row.get(0));
        let Some(name) = name.optional().map_err(StoreError::unavailable)? else { return Ok(None) };
        let name: String = name;
        let id = KeyId::generate(Timestamp::UNIX_EPOCH).unwrap();
        Ok(Some(Arc::new(KeyRecord::new(id, *digest, &*name, Timestamp::UNIX_EPOCH))))
    }
}

#[tokio::test]
async fn keys_are_read_by_rusqlite() {
    let table = Connection::open_in_memory().unwrap();
    table.execute_batch("CREATE TABLE keys (digest BLOB PRIMARY KEY, name TEXT)").unwrap();
    let digest = KeyHasher::sha256().digest(IN_TABLE);
    table.execute("INSERT INTO keys VALUES (?1, 'Ada')", [digest.as_bytes()]).unwrap();

    let service = ServiceBuilder::new().layer(ApiKeyLayer::new(Table(Mutex::new(table)))).service(
        service_fn(async |request: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(greeting(&request))))
        }),
    );
    let send = async |key| {
        let request = Request::builder().header(KEY, key).body(()).unwrap();
        let (parts, body) = service.clone().oneshot(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    };
    assert_eq!(send(IN_TABLE).await.body(), "Hello, Ada.");
    assert_denied(&send("a-key-in-no-table-of-the-application").await, 401, "unknown_key");
}
