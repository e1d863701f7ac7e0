//! A change of peppers: keys made under the old one go on working, and are stored anew under the
//! new one by being used.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::timeout};
use tower_api_key::{
    KeyHasher, KeyManager, KeyRecord, NewKey, Peppers, RejectionKind,
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

#[tokio::test]
async fn in_memory() {
    peppers_can_be_changed(MemoryStore::new()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn in_sqlite() {
    let file = crate::sqlite::File::new();
    peppers_can_be_changed(file.open().await).await;
}
