//! `KeyManager::close`: what is counted and held is written, in order, whatever fails.

use std::sync::{Arc, Mutex};

// Each trait is implemented with what its own module has.
use async_trait::async_trait;
use tower_api_key::{
    Credits, KeyManager, NewKey, UsageRecorder,
    credits::NewCredits,
    limit::{
        Limit, LimitCheck, LimitDecision, Limits, LocalLimiter, Quota, RateLimiter, RateLimits,
    },
    nonzero,
    store::{
        ApplyOutcome, BalanceStore, Changes, HourlyUsage, KeyDigest, KeyId, KeyPage, KeyQuery,
        KeyRecord, KeyRepository, KeyStore, KeyUse, LineageUsage, MemoryStore, OwnerId, StoreError,
        StoreErrorKind, Timestamp, UsageCount, UsageLog, UsageQuery,
    },
};

use crate::support::{send_waiting, with_key};

type Step = &'static str;

/// The steps of a shutdown, as they are taken, and those that fail.
#[derive(Clone, Default)]
struct Steps {
    taken: Arc<Mutex<Vec<Step>>>,
    failing: Arc<Mutex<Vec<(Step, StoreErrorKind)>>>,
}

impl Steps {
    fn take(&self, step: Step) -> Result<(), StoreError> {
        self.taken.lock().unwrap().push(step);
        let failing = self.failing.lock().unwrap();
        let failed = failing.iter().find(|(failing, _)| *failing == step);
        failed.map_or(Ok(()), |(_, kind)| Err(StoreError::new(*kind)))
    }
}

struct Limiter(LocalLimiter, Steps);

#[async_trait]
impl RateLimiter for Limiter {
    async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        self.0.check(check).await
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: std::time::Duration) {
        self.0.give_back(check, after);
    }

    async fn close(&self) {
        let _ = self.1.take("limits");
    }
}

#[derive(Clone)]
struct Store(MemoryStore, Steps);

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Store {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        if !changes.balances.is_empty() {
            self.1.take("credits")?;
        }
        self.0.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.0.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.1.take("uses")?;
        self.0.record_uses(uses).await
    }

    async fn purge(&self, _: Timestamp, _: Option<&OwnerId>) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        self.0.balance_store()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        Some(self)
    }

    async fn close(&self) {
        let _ = self.1.take("repository");
    }
}

#[async_trait]
impl UsageLog for Store {
    async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        self.1.take("hours")?;
        self.0.record_usage(usage).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
        self.0.usage(query).await
    }

    async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineageUsage>, StoreError> {
        self.0.busiest(query, limit).await
    }

    async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.0.forget_usage(before).await
    }
}

/// What a shutdown is of which these steps fail: the steps that are taken, and the error. Then the
/// credits that the store has of 100, and the uses of the key.
async fn closed(
    failing: &[(Step, StoreErrorKind)],
) -> (Vec<Step>, Option<StoreErrorKind>, (u64, u64)) {
    let steps = Steps::default();
    let (keys, limiter) = (MemoryStore::new(), Limiter(LocalLimiter::new(), steps.clone()));
    let store = Store(keys.clone(), steps.clone());
    let manager = KeyManager::new(store.clone())
        .with_rate_limits(RateLimits::new(limiter))
        .with_credits(Credits::new(store.clone()).unwrap())
        .with_usage(UsageRecorder::new(store).unwrap());
    let limit = Limit::new("hour", Quota::per_hour(nonzero!(9))).unwrap();
    let new = NewKey {
        limits: Limits::new([limit]).unwrap(),
        credits: Some(NewCredits { remaining: 100, refill: None }),
        ..NewKey::named("key")
    };
    let issued = manager.create(new).await.unwrap();
    let answer = send_waiting(&manager.layer(), with_key(issued.secret.expose())).await;
    assert_eq!(answer.outcome(), "admitted");

    steps.taken.lock().unwrap().clear();
    steps.failing.lock().unwrap().extend(failing);
    let error = manager.close().await.err().map(|error| error.kind());
    let taken = steps.taken.lock().unwrap().clone();
    let id = issued.record.id;
    let balances = keys.balances(&[id]).await.unwrap();
    let uses = keys.get(id).await.unwrap().unwrap().use_count;
    (taken, error, (balances.of(id).unwrap().remaining, uses))
}

#[tokio::test]
async fn everything_is_written_in_order_before_the_repository_closes() {
    let steps = vec!["limits", "credits", "uses", "hours", "repository"];
    assert_eq!(closed(&[]).await, (steps, None, (99, 1)));
}

#[tokio::test]
async fn a_step_that_fails_keeps_no_other_from_being_taken() {
    let (credits, uses) =
        (("credits", StoreErrorKind::Timeout), ("uses", StoreErrorKind::Unavailable));
    let (taken, error, (remaining, count)) = closed(&[credits]).await;
    assert_eq!(taken, ["limits", "credits", "uses", "hours", "repository"]);
    assert_eq!((error, count), (Some(StoreErrorKind::Timeout), 1));
    assert!(remaining < 99, "{remaining}");

    let (taken, error, written) = closed(&[uses]).await;
    assert_eq!(taken, ["limits", "credits", "uses", "repository"]);
    assert_eq!((error, written), (Some(StoreErrorKind::Unavailable), (99, 0)));

    let (taken, error, _) = closed(&[credits, uses]).await;
    assert_eq!(taken, ["limits", "credits", "uses", "repository"]);
    assert_eq!(error, Some(StoreErrorKind::Timeout), "the first");
}

#[tokio::test]
async fn a_manager_that_was_given_nothing_closes_its_repository() {
    let steps = Steps::default();
    KeyManager::new(Store(MemoryStore::new(), steps.clone())).close().await.unwrap();
    assert_eq!(*steps.taken.lock().unwrap(), ["repository"]);
}
