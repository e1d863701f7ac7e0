//! Where keys and digests must not be.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tower_api_key::{
    KeyManager, KeyPatch, NewKey,
    store::{KeyQuery, KeyRepository, KeyStore, SqliteStore},
};
use tracing_subscriber::filter::LevelFilter;

use super::{File, run, texts};
use crate::{
    conformance::{digest, record},
    support::ask,
};

/// All that anything in this process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// The whole life of a key, with everything that the stores' own libraries have to say. The pool
/// is one that logs its statements, as an application's may.
#[tokio::test]
async fn neither_logs_nor_files_hold_a_key() {
    let log = Log::default();
    let writer = log.clone();
    // For all threads: SQLite has its own. No other test of this binary sets one.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();

    let file = File::new();
    file.open().await.close().await;
    let store =
        SqliteStore::from_pool(file.impatient_pool().await).with_table("logged_keys").unwrap();
    store.migrate().await.unwrap();
    let manager = KeyManager::new(store.clone());
    let layer = manager.layer();
    let issued = manager.create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);

    let mut said = vec![format!("{issued:?} {store:?} {manager:?} {layer:?}")];
    said.push(format!("{:?}", ask(&layer, key).await));
    said.push(format!("{:?}", manager.list(&KeyQuery::new(10)).await));
    let patch = KeyPatch { name: Some("shop 2".to_owned()), ..KeyPatch::default() };
    said.push(format!("{:?}", manager.update(id, patch).await));
    said.push(texts(&store.insert(&issued.record).await.unwrap_err()));
    let mut other = file.connect().await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    said.push(texts(&manager.revoke(id, None).await.unwrap_err()));
    run(&mut other, "ROLLBACK").await;
    said.push(format!("{:?}", manager.revoke(id, None).await));
    said.push(format!("{:?}", ask(&layer, key).await.unwrap_err()));
    let said = said.concat();

    let digest = issued.record.digest;
    let digests = [digest.to_hex(), format!("{:?}", digest.as_bytes())];
    let digests = [digests[0].as_str(), digests[1].trim_matches(['[', ']'])];
    let secret = key.strip_prefix("key_").unwrap();
    let logged = log.0.lock().unwrap().clone();
    assert!(contains(&logged, "logged_keys"), "the statements are logged");
    for (place, text) in [("the log", &logged[..]), ("Debug", said.as_bytes())] {
        for part in [secret, digests[0], digests[1]] {
            assert!(!contains(text, part), "{part} is in {place}");
        }
    }
    for suffix in ["", "-wal"] {
        let bytes = std::fs::read(format!("{}{suffix}", file.path.display())).unwrap();
        assert!(!contains(&bytes, secret), "the key is in the file {suffix}");
    }
}

#[tokio::test]
async fn errors_and_debug_tell_no_digest() {
    let file = File::new();
    let store = file.open().await;
    store.insert(&record(1)).await.unwrap();
    let duplicate = store.insert(&record(1)).await.unwrap_err();
    let mut connection = file.connect().await;
    run(&mut connection, "UPDATE api_keys SET metadata = '{'").await;
    let corrupt = store.find(&digest(1)).await.unwrap_err();
    let texts = [texts(&duplicate), texts(&corrupt), format!("{store:?}")];

    let hex = digest(1).to_hex();
    let bytes = format!("{:?}", digest(1).as_bytes());
    for text in texts {
        assert!(!text.to_lowercase().contains(&hex) && !text.contains(&bytes), "{text}");
    }
    assert_eq!(format!("{store:?}"), "SqliteStore(api_keys)");
}
