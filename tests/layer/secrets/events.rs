//! Everything that the crate tells `tracing`, at `TRACE`, while keys of every kind go by.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, KeyPatch, KeySource, NewKey, Peppers,
    store::{ListQuery, MemoryStore, StoreErrorKind},
};
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, util::SubscriberInitExt};

use super::child;
use crate::{
    stores::TestStore,
    support::{KEY, get, request, request_to, send_waiting, with_key},
};

/// Keeps what is written, for all clones.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_event_holds_a_key() {
    // `tracing` remembers for the whole process whether anybody listens to an event, and another
    // test's thread, where nobody does, may be the first to come by.
    if !child::is_child() {
        child::run("secrets::events::no_event_holds_a_key", None);
        return;
    }
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    // For this thread, which is the only one of this runtime.
    let _guard = subscriber.set_default();

    let store = MemoryStore::new();
    let old = KeyHasher::hmac_sha256(Peppers::new(&[1; 32]).unwrap());
    let both =
        KeyHasher::hmac_sha256(Peppers::new(&[2; 32]).unwrap().with_retired(&[1; 32]).unwrap());
    let manager = KeyManager::new(store.clone()).with_hasher(old);
    let issued = manager.create(NewKey::named("key")).await.unwrap();
    let id = issued.record.id;
    let key = issued.secret.expose().to_owned();
    let manager = manager.with_hasher(both);
    let layer = manager.layer().with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::query("api_key").unwrap(),
        KeySource::cookie("api_key").unwrap(),
    ]);
    let unknown = tower_api_key::KeyFormat::new("key").unwrap().generate().unwrap();
    let unknown = unknown.expose().to_owned();
    let malformed = format!("{key}x");

    // A good key, from each source, and renewed under the current pepper.
    for request in every_source(&key) {
        assert_eq!(send_waiting(&layer, request).await.outcome(), "admitted");
        tokio::task::yield_now().await;
    }
    let mut codes = Vec::new();
    for bad in [&unknown, &malformed] {
        for request in every_source(bad) {
            codes.push(send_waiting(&layer, request).await.outcome());
        }
    }
    let twice = [("x-api-key", &key), ("x-api-key", &key)];
    codes.push(send_waiting(&layer, request(&twice)).await.outcome());
    codes.push(send_waiting(&layer, get("/")).await.outcome());
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Overloaded] {
        let layer = ApiKeyLayer::new(TestStore::failing(kind));
        codes.push(send_waiting(&layer, with_key(KEY)).await.outcome());
    }
    let disabled = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
    manager.update(id, disabled).await.unwrap();
    codes.push(send_waiting(&layer, with_key(&key)).await.outcome());
    manager.list(&ListQuery::new(10)).await.unwrap();
    manager.revoke(id, Some("done")).await.unwrap();
    codes.push(send_waiting(&layer, with_key(&key)).await.outcome());
    manager.delete(id).await.unwrap();
    codes.push(send_waiting(&layer, with_key(&key)).await.outcome());

    let log = log.text();
    // The log is there at all: a line for each denial, with its code.
    assert_eq!(log.matches("request denied").count(), codes.len(), "{log}");
    for code in &codes {
        assert!(log.contains(&format!("code=\"{code}\"")), "{code} in {log}");
    }
    assert!(log.contains(&id.to_string()), "{log}");
    for secret in [&key, &unknown, &malformed, KEY] {
        assert!(!log.contains(secret), "{secret} in {log}");
        // Nor a part that would be worth having.
        assert!(!log.contains(&secret[secret.len() - 12..]), "{secret} in {log}");
        let digest = KeyHasher::sha256().digest(secret).to_hex();
        assert!(!log.contains(&digest), "{digest} in {log}");
    }
}

/// The key in each of the sources, in a request of its own.
fn every_source(key: &str) -> [http::Request<()>; 4] {
    [
        with_key(key),
        request(&[("authorization", format!("Bearer {key}"))]),
        get(&format!("/?api_key={key}")),
        request_to("/", &[("cookie", format!("api_key={key}"))]),
    ]
}
