//! Lookups that fail, hang, take long, happen at once, or go through peppers.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::{Request, Response};
use tokio::{sync::Barrier, time::Instant};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyHasher, Peppers,
    key::{KeyDigest, KeyRecord},
    store::{KeyStore, StoreError, StoreErrorKind},
};

use crate::{
    stores::TestStore,
    support::{
        KEY, OTHER_KEY, record, record_hashed, record_with, respond, send_waiting, with_key,
    },
};

#[tokio::test]
async fn a_store_that_fails_is_a_503_whatever_failed() {
    for (kind, code) in [
        (StoreErrorKind::Unavailable, "store_unavailable"),
        (StoreErrorKind::Timeout, "store_unavailable"),
        (StoreErrorKind::Corrupt, "store_unavailable"),
        (StoreErrorKind::Duplicate, "store_unavailable"),
        (StoreErrorKind::Overloaded, "lookup_overloaded"),
    ] {
        let layer = ApiKeyLayer::new(TestStore::failing(kind));
        // Anonymous requests may come in, and yet nobody becomes anonymous by an outage.
        let answer = send_waiting(&layer.allow_anonymous(), with_key(KEY)).await;
        assert_eq!(answer.response.status(), 503);
        assert_eq!(answer.outcome(), code, "{kind:?}");
    }
}

#[tokio::test]
async fn what_went_wrong_is_kept_for_the_service_and_not_told_to_the_caller() {
    struct Down;
    #[async_trait]
    impl KeyStore for Down {
        async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            Err(StoreError::unavailable("connection to db-7 refused"))
        }
    }
    let answer = send_waiting(&ApiKeyLayer::new(Down), with_key(KEY)).await;
    let error = std::error::Error::source(answer.rejection()).unwrap();
    assert_eq!(error.to_string(), "the key store is unavailable");
    assert_eq!(error.source().unwrap().to_string(), "connection to db-7 refused");
    let told = format!("{:?} {:?}", answer.response.headers(), answer.response.body());
    assert!(!told.contains("db-7"), "{told}");
}

/// Without `#[async_trait]`, which spares the types.
#[tokio::test]
async fn a_store_may_box_its_futures_by_hand() {
    type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;
    struct ByHand(Arc<KeyRecord>);
    impl KeyStore for ByHand {
        fn find<'this, 'digest, 'future>(
            &'this self,
            digest: &'digest KeyDigest,
        ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'future>>
        where
            'this: 'future,
            'digest: 'future,
            Self: 'future,
        {
            Box::pin(async move { Ok(Some(self.0.clone()).filter(|key| key.digest == *digest)) })
        }
    }
    let layer = ApiKeyLayer::new(ByHand(Arc::new(record(KEY))));
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.response.status(), 200);
    assert_eq!(send_waiting(&layer, with_key(OTHER_KEY)).await.response.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up_in_time() {
    for (layer, store, timeout) in [
        {
            let store = TestStore::stuck();
            (ApiKeyLayer::new(store.clone()), store, Duration::from_secs(5))
        },
        {
            let store = TestStore::stuck();
            let timeout = Duration::from_millis(250);
            (ApiKeyLayer::new(store.clone()).with_lookup_timeout(timeout), store, timeout)
        },
    ] {
        let start = Instant::now();
        let answer = send_waiting(&layer, with_key(KEY)).await;
        assert_eq!(answer.outcome(), "store_unavailable");
        assert_eq!(answer.response.headers()["retry-after"], "1");
        // The paused clock moves in whole milliseconds.
        let waited = start.elapsed();
        assert!(waited >= timeout && waited <= timeout + Duration::from_millis(1), "{waited:?}");
        assert_eq!(store.given_up(), 1);
    }
}

/// A store that takes its time for every answer.
struct Slow(TestStore, Duration);

#[async_trait]
impl KeyStore for Slow {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.find(digest).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_waited_for() {
    for (millis, outcome) in [(4_900, "admitted"), (5_100, "store_unavailable")] {
        let store = Slow(TestStore::new([record(KEY)]), Duration::from_millis(millis));
        let answer = send_waiting(&ApiKeyLayer::new(store), with_key(KEY)).await;
        assert_eq!(answer.outcome(), outcome, "{millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_is_for_all_lookups_of_a_request_together() {
    let (new, old) = ([1; 32], [2; 32]);
    let stored = record_hashed(&KeyHasher::hmac_sha256(Peppers::new(&old).unwrap()), KEY);
    let peppers = Peppers::new(&new).unwrap().with_retired(&old).unwrap();
    for (millis, outcome) in [(2_400, "admitted"), (2_600, "store_unavailable")] {
        let store = Slow(TestStore::new([stored.clone()]), Duration::from_millis(millis));
        let layer = ApiKeyLayer::new(store).with_hasher(KeyHasher::hmac_sha256(peppers.clone()));
        let start = Instant::now();
        let answer = send_waiting(&layer, with_key(KEY)).await;
        assert_eq!(answer.outcome(), outcome, "two lookups of {millis} ms");
        assert!(start.elapsed() <= Duration::from_millis(5_001), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_time_without_end_does_not_overflow() {
    let layer = ApiKeyLayer::new(TestStore::waiting([record(KEY)]));
    let layer = layer.with_lookup_timeout(Duration::MAX);
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "admitted");
}

#[tokio::test]
async fn keys_under_retired_peppers_are_found() {
    let (new, old, older, foreign) = ([1; 32], [2; 32], [3; 32], [4; 32]);
    let under = |pepper: &[u8]| KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap());
    let peppers = Peppers::new(&new).unwrap().with_retired(&old).unwrap();
    let hasher = KeyHasher::hmac_sha256(peppers.with_retired(&older).unwrap());
    for (pepper, outcome, lookups) in [
        (new, "admitted", 1),
        (old, "admitted", 2),
        (older, "admitted", 3),
        // And the current one once more.
        (foreign, "unknown_key", 4),
    ] {
        let stored = record_hashed(&under(&pepper), KEY);
        let now = TestStore::new([stored.clone()]);
        let layer = ApiKeyLayer::new(now.clone()).with_hasher(hasher.clone());
        assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), outcome);
        assert_eq!((now.asked_now(), now.asked()), (lookups, 0), "pepper {}", pepper[0]);

        let slow = TestStore::waiting([stored]);
        let layer = ApiKeyLayer::new(slow.clone()).with_hasher(hasher.clone());
        assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), outcome);
        // Whatever can be said without waiting comes first.
        assert_eq!((slow.asked_now(), slow.asked()), (3, lookups), "pepper {}", pepper[0]);
    }
    // Rows without a pepper are no rows of this layer.
    let plain = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_hasher(hasher);
    assert_eq!(send_waiting(&plain, with_key(KEY)).await.outcome(), "unknown_key");
}

/// A lookup that does not end leaves the others their turn, and what it found last counts, too.
#[tokio::test(start_paused = true)]
async fn a_lookup_under_one_pepper_that_takes_long_holds_up_no_other() {
    let (new, old, older) = ([1; 32], [2; 32], [3; 32]);
    let under = |pepper: &[u8]| KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap());
    let peppers = Peppers::new(&new).unwrap().with_retired(&old).unwrap();
    let hasher = KeyHasher::hmac_sha256(peppers.with_retired(&older).unwrap());
    let digest = under(&new).digest(KEY);
    for (pepper, slow_millis, outcome, waited) in [
        (new, 4_900, "admitted", 4_900),
        (old, 4_900, "admitted", 1_667),
        (older, 4_900, "admitted", 1_667),
        ([4; 32], 4_900, "unknown_key", 4_900),
        ([4; 32], 5_100, "store_unavailable", 5_000),
        (new, 5_100, "store_unavailable", 5_000),
    ] {
        let quick = TestStore::waiting([record_hashed(&under(&pepper), KEY)]);
        let store = SlowFor { store: quick, digest, time: Duration::from_millis(slow_millis) };
        let layer = ApiKeyLayer::new(store).with_hasher(hasher.clone());
        let start = Instant::now();
        assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), outcome);
        // The paused clock moves in whole milliseconds.
        let late = start.elapsed().saturating_sub(Duration::from_millis(waited));
        assert!(start.elapsed().as_millis() >= waited.into() && late.as_millis() <= 1, "{late:?}");
    }
}

/// A store that takes its time for one digest: the first time it is asked for it.
struct SlowFor {
    store: TestStore,
    digest: KeyDigest,
    time: Duration,
}

#[async_trait]
impl KeyStore for SlowFor {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if *digest == self.digest && self.store.asked() == 0 {
            tokio::time::sleep(self.time).await;
        }
        self.store.find(digest).await
    }
}

/// A store in which another request renews the digest between two lookups of this one.
struct Renewing {
    before: TestStore,
    after: TestStore,
}

#[async_trait]
impl KeyStore for Renewing {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let store = if self.before.asked() == 0 { &self.before } else { &self.after };
        store.find(digest).await
    }
}

#[tokio::test]
async fn a_digest_that_is_renewed_meanwhile_is_found() {
    let (new, old) = ([1; 32], [2; 32]);
    let under = |pepper: &[u8]| KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap());
    let store = Renewing {
        before: TestStore::waiting([record_hashed(&under(&old), KEY)]),
        after: TestStore::waiting([record_hashed(&under(&new), KEY)]),
    };
    let peppers = Peppers::new(&new).unwrap().with_retired(&old).unwrap();
    let layer = ApiKeyLayer::new(store).with_hasher(KeyHasher::hmac_sha256(peppers));
    assert_eq!(send_waiting(&layer, with_key(KEY)).await.outcome(), "admitted");
}

#[tokio::test]
async fn rows_of_another_system_authenticate_unchanged() {
    // `printf %s "$KEY" | sha256sum`, for a key from Python's `secrets.token_urlsafe(32)`.
    let key = "Zx3vT0mB-q8_Lr5YpWc2NhKd7JfSgUa1EiOo4RtVu9A";
    let stored = "78700517af4544322632654964506ce45b6ef0231f9832a9906bd92d5388a10a";
    assert_eq!(key.len(), 43);
    let row = record_with(OTHER_KEY, |row| row.digest = KeyDigest::from_hex(stored).unwrap());
    let layer = ApiKeyLayer::new(TestStore::new([row]));
    assert_eq!(send_waiting(&layer, with_key(key)).await.outcome(), "admitted");
}

/// Answers only once so many lookups are under way.
struct Together(TestStore, Barrier);

#[async_trait]
impl KeyStore for Together {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.1.wait().await;
        self.0.find(digest).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_each_get_their_own_identity() {
    const REQUESTS: usize = 90;
    let keys: Vec<String> = (0..30).map(|n| format!("key-number-{n:02}-of-these-tests")).collect();
    let records: Vec<_> = keys.iter().map(|key| record(key)).collect();
    let ids: Vec<_> = records.iter().map(|record| record.id.to_string()).collect();
    let store = Together(TestStore::new(records), Barrier::new(REQUESTS));
    let inner = service_fn(async |request: Request<()>| {
        let key: &AuthenticatedKey = request.extensions().get().unwrap();
        Ok::<_, Infallible>(Response::new(key.id().to_string()))
    });
    let service = ServiceBuilder::new().layer(ApiKeyLayer::new(store)).service(inner);
    let answers = join_all(
        (0..REQUESTS)
            .map(|n| tokio::spawn(respond(service.clone(), with_key(&keys[n % keys.len()])))),
    )
    .await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().body(), &*ids[n % ids.len()]);
    }
}
