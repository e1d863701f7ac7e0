//! What a layer tells its store of the request that needs a lookup, through every store around it.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, KeyManager, OwnerId, Peppers, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse,
        LocalInvalidations, LookupHint, MemoryStore, StoreError,
    },
};

use crate::support::{KEY, record, record_hashed, send_waiting, with_key};

/// Keeps the hints of its lookups; `None` for one that asked for a fresh answer.
#[derive(Clone, Default)]
struct Told {
    keys: MemoryStore,
    hints: Arc<Mutex<Vec<Option<LookupHint>>>>,
}

impl Told {
    async fn with_the_key() -> Self {
        let this = Self::default();
        this.keys.insert(&record(KEY)).await.unwrap();
        this
    }

    fn take(&self) -> Vec<Option<LookupHint>> {
        std::mem::take(&mut *self.hints.lock().unwrap())
    }
}

#[async_trait]
impl KeyStore for Told {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.find_for(digest, LookupHint::new()).await
    }

    async fn find_for(
        &self,
        digest: &KeyDigest,
        hint: LookupHint,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.hints.lock().unwrap().push(Some(hint));
        self.keys.find(digest).await
    }

    async fn find_fresh(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.hints.lock().unwrap().push(None);
        self.keys.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Told {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        self.keys.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.keys.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.keys.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.keys.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.keys.purge(before, owner).await
    }
}

fn from(address: &str) -> LookupHint {
    LookupHint::new().with_address(Some(address.parse().unwrap()))
}

fn telling_addresses(layer: ApiKeyLayer) -> ApiKeyLayer {
    layer.with_client_address(|request| request.extensions.get::<IpAddr>().copied())
}

async fn admitted(layer: &ApiKeyLayer, address: Option<&str>) {
    let mut request = with_key(KEY);
    if let Some(address) = address {
        request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
    }
    assert_eq!(send_waiting(layer, request).await.outcome(), "admitted");
}

#[tokio::test]
async fn a_store_is_told_the_address() {
    let store = Told::with_the_key().await;
    let layer = telling_addresses(ApiKeyLayer::new(store.clone()));
    admitted(&layer, Some("192.0.2.7")).await;
    admitted(&layer, Some("::ffff:192.0.2.7")).await;
    admitted(&layer, Some("2001:db8::7")).await;
    admitted(&layer, None).await;
    let ipv4 = from("192.0.2.7");
    assert_eq!(
        store.take(),
        [Some(ipv4), Some(ipv4), Some(from("2001:db8::7")), Some(LookupHint::new())]
    );
}

#[tokio::test]
async fn so_is_one_that_is_asked_under_several_peppers() {
    let (old, new) = ([1; 32], [2; 32]);
    let store = Told::default();
    let stored = record_hashed(&KeyHasher::hmac_sha256(Peppers::new(&old).unwrap()), KEY);
    store.keys.insert(&stored).await.unwrap();
    let hasher = KeyHasher::hmac_sha256(Peppers::new(&new).unwrap().with_retired(&old).unwrap());
    let layer = telling_addresses(ApiKeyLayer::new(store.clone()).with_hasher(hasher));
    admitted(&layer, Some("192.0.2.7")).await;
    assert_eq!(store.take(), [Some(from("192.0.2.7")); 2]);
}

#[tokio::test]
async fn stores_around_another_pass_it_on() {
    let store = Told::with_the_key().await;
    #[cfg_attr(not(feature = "cache"), expect(unused_mut, reason = "a cache is one more"))]
    let mut layers = vec![
        ApiKeyLayer::new(Arc::new(store.clone())),
        KeyManager::new(store.clone())
            .with_invalidations(LocalInvalidations::new())
            .layer()
            .with_formats([tower_api_key::KeyFormat::opaque()]),
    ];
    #[cfg(feature = "cache")]
    layers.push(ApiKeyLayer::new(tower_api_key::store::CachedStore::new(store.clone())));
    for layer in layers {
        admitted(&telling_addresses(layer), Some("192.0.2.7")).await;
        assert_eq!(store.take(), [Some(from("192.0.2.7"))]);
    }
}

#[tokio::test]
async fn a_fresh_answer_is_the_stores_own() {
    let store = Told::with_the_key().await;
    let digest = record(KEY).digest;
    #[cfg_attr(not(feature = "cache"), expect(unused_mut, reason = "a cache is one more"))]
    let mut around: Vec<Arc<dyn KeyStore>> = vec![Arc::new(store.clone())];
    #[cfg(feature = "cache")]
    around.push(Arc::new(tower_api_key::store::CachedStore::new(store.clone())));
    for outer in around {
        assert!(outer.find(&digest).await.unwrap().is_some());
        assert_eq!(store.take(), [Some(LookupHint::new())]);
        for _ in 0..2 {
            assert!(outer.find_fresh(&digest).await.unwrap().is_some());
            assert_eq!(store.take(), [None]);
        }
    }
}

#[cfg(feature = "legacy-hashes")]
#[tokio::test]
async fn the_store_is_told_of_keys_that_may_have_a_slow_hash() {
    use tower_api_key::{key::LegacyHash, legacy::LegacyHashes};

    let told = Told::default();
    let mut imported = record("not-the-key-of-another-system");
    imported.start = KEY[..8].into();
    let hash = bcrypt::hash(KEY, 4).unwrap();
    imported.details.legacy_hash = Some(LegacyHash::parse(&hash).unwrap());
    told.keys.insert(&imported).await.unwrap();
    let legacy = LegacyHashes::new(told.keys.clone());
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(told.clone()).with_legacy_hashes(legacy);
    let other = "another-start-0123456789abcdef";
    for (key, may_have, outcome) in [(other, false, "unknown_key"), (KEY, true, "admitted")] {
        assert_eq!(send_waiting(&layer, with_key(key)).await.outcome(), outcome);
        assert_eq!(told.take(), [Some(LookupHint::new().with_slow_hash(may_have))], "{key}");
    }
}
