//! A change of peppers: keys made under the old one go on working, and are stored anew under the
//! new one by being used.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::timeout};
use tower_api_key::{
    KeyFormat, KeyHasher, KeyId, KeyManager, NewKey, Peppers, RejectionKind, Timestamp,
    clock::{Clock, SettableClock},
    key::KeyRecord,
    manage::ImportKey,
    store::{KeyRepository, MemoryStore},
};

use crate::support::ask;

const OLDEST: &[u8] = b"the first pepper: thirty-two bytes or more";
const OLD: &[u8] = b"the second pepper: thirty-two bytes or more";
const NEW: &[u8] = b"the third pepper: thirty-two bytes or more";

fn hasher(current: &[u8], retired: &[&[u8]]) -> KeyHasher {
    let peppers = retired
        .iter()
        .try_fold(Peppers::new(current).unwrap(), |peppers, retired| peppers.with_retired(retired));
    KeyHasher::hmac_sha256(peppers.unwrap())
}

/// The record once its digest was renewed, which happens after the request.
async fn renewed(store: &impl KeyRepository, old: &KeyRecord) -> Arc<KeyRecord> {
    let changed = async {
        loop {
            let record = store.get(old.id).await.unwrap().unwrap();
            if record.digest != old.digest {
                return record;
            }
            yield_now().await;
        }
    };
    timeout(Duration::from_mins(1), changed).await.expect("the digest is renewed")
}

async fn peppers_can_be_changed(store: impl KeyRepository + Clone) {
    for retired in [OLD, OLDEST] {
        let before = KeyManager::new(store.clone()).with_hasher(hasher(retired, &[]));
        let issued = before.create(NewKey::named("made before")).await.unwrap();
        let (key, old) = (issued.secret.expose(), issued.record);

        // The new pepper alone does not know it yet.
        let alone = KeyManager::new(store.clone()).with_hasher(hasher(NEW, &[])).layer();
        assert_eq!(ask(&alone, key).await.unwrap_err().kind(), RejectionKind::Unknown);

        let manager = KeyManager::new(store.clone()).with_hasher(hasher(NEW, &[OLD, OLDEST]));
        assert_eq!(ask(&manager.layer(), key).await.unwrap(), old.id);

        let record = renewed(&store, &old).await;
        assert_eq!(record.digest, hasher(NEW, &[]).digest(key));
        assert_eq!(record.revision, old.revision + 1);
        let mut expected = KeyRecord::clone(&old);
        (expected.digest, expected.revision) = (record.digest, record.revision);
        (expected.use_count, expected.last_used_at) = (record.use_count, record.last_used_at);
        assert_eq!(*record, expected, "nothing but the digest");

        assert_eq!(ask(&alone, key).await.unwrap(), old.id);
        assert_eq!(ask(&manager.layer(), key).await.unwrap(), old.id);
        assert_eq!(ask(&before.layer(), key).await.unwrap_err().kind(), RejectionKind::Unknown);
    }
}

/// Two nodes in the middle of a change, and back: whatever one stores, the other finds, and they do
/// not store a key in turns.
async fn a_fleet_can_change_its_pepper(store: impl KeyRepository + Clone) {
    let node = |hasher| KeyManager::new(store.clone()).with_hasher(hasher);
    let with_next = Peppers::new(OLD).unwrap().with_next(NEW).unwrap();
    let old = node(KeyHasher::hmac_sha256(with_next));
    let new = node(hasher(NEW, &[OLD]));
    a_fleet_moves(&store, &old, &new).await;
}

async fn a_fleet_moves(store: &impl KeyRepository, old: &KeyManager, new: &KeyManager) {
    let by_old = old.create(NewKey::named("made by the old")).await.unwrap();
    let by_new = new.create(NewKey::named("made by the new")).await.unwrap();
    let nodes = [old.layer(), new.layer()];
    let ask_all = async || {
        for issued in [&by_old, &by_new] {
            for layer in &nodes {
                let id = ask(layer, issued.secret.expose()).await.unwrap();
                assert_eq!(id, issued.record.id);
            }
        }
    };
    ask_all().await;
    let moved = renewed(store, &by_old.record).await;
    for _ in 0..10 {
        ask_all().await;
    }
    // Another key that is stored anew, so that what was begun before it has been done as well.
    let last = old.create(NewKey::named("the last")).await.unwrap();
    ask(&nodes[1], last.secret.expose()).await.unwrap();
    renewed(store, &last.record).await;
    ask_all().await;
    for (issued, digest, revision) in [
        (&by_old, moved.digest, by_old.record.revision + 1),
        (&by_new, by_new.record.digest, by_new.record.revision),
    ] {
        let record = store.get(issued.record.id).await.unwrap().unwrap();
        assert_eq!((record.digest, record.revision), (digest, revision), "{}", record.name);
    }
    // Back: every node is like the old one again.
    for issued in [&by_old, &by_new, &last] {
        ask(&nodes[0], issued.secret.expose()).await.unwrap();
    }
}

/// From plain SHA-256 to a pepper, imported rows included; after its end, a plain row is no key.
async fn a_pepper_can_be_introduced(store: impl KeyRepository + Clone) {
    let clock = SettableClock::new(Timestamp::from_unix_millis(1_795_392_000_000));
    let end = clock.now().saturating_add(Duration::from_hours(24));
    let node =
        |hasher| KeyManager::new(store.clone()).with_hasher(hasher).with_clock(clock.clone());
    let plain = node(KeyHasher::sha256());
    let first = node(KeyHasher::sha256_with_next(NEW).unwrap());
    let then = node(KeyHasher::hmac_sha256(Peppers::new(NEW).unwrap().with_retired_plain(end)));
    a_fleet_moves(&store, &first, &then).await;

    let used = plain.create(NewKey::named("used in time")).await.unwrap();
    let late = plain.create(NewKey::named("used too late")).await.unwrap();
    let imported = "a-key-that-another-system-has-made";
    let digest = KeyHasher::sha256().digest(imported);
    plain.import(&[ImportKey::from_digest(digest, NewKey::named("imported"))]).await.unwrap();
    let row = store.find(&digest).await.unwrap().unwrap();
    let formats = [KeyFormat::new("key").unwrap(), KeyFormat::opaque()];
    let layer = then.layer().with_formats(formats);
    for (key, record) in [(used.secret.expose(), &used.record), (imported, &row)] {
        assert_eq!(ask(&layer, key).await.unwrap(), record.id);
        let now = renewed(&store, record).await;
        assert_eq!(now.digest, hasher(NEW, &[]).digest(key));
    }

    clock.set(end);
    for key in [used.secret.expose(), imported] {
        ask(&layer, key).await.unwrap();
    }
    // Also one that is planted only now, by a program that can write to the table.
    let planted = "a-key-that-nobody-has-ever-issued";
    let digest = KeyHasher::sha256().digest(planted);
    let id = KeyId::generate(clock.now()).unwrap();
    store.insert(&KeyRecord::new(id, digest, "planted", clock.now())).await.unwrap();
    for key in [late.secret.expose(), planted] {
        assert_eq!(ask(&layer, key).await.unwrap_err().kind(), RejectionKind::Unknown);
    }
}

/// The three changes on a kind of store, whose `open` gives it with what keeps it.
macro_rules! peppers {
    ($name:ident, $open:expr) => {
        mod $name {
            peppers! { @cases $open;
                peppers_can_be_changed a_fleet_can_change_its_pepper a_pepper_can_be_introduced
            }
        }
    };
    (@cases $open:expr; $($case:ident)*) => { $(
        #[tokio::test]
        async fn $case() {
            let Some((store, _kept)) = $open.await else { return };
            super::$case(store).await;
        }
    )* };
}

peppers!(in_memory, async { Some((super::MemoryStore::new(), ())) });

#[cfg(feature = "sqlite")]
peppers!(in_sqlite, async {
    let file = crate::sqlite::File::new();
    Some((file.open().await, file))
});

#[cfg(feature = "postgres")]
peppers!(in_postgres, crate::postgres::open());

#[cfg(feature = "mysql")]
peppers!(in_mysql, crate::mysql::open());

#[cfg(feature = "redis")]
peppers!(in_redis, crate::redis::open());
