//! Clients that try again by themselves wait for as long as they are told (gRFC A6), and do not try again
//! where it would be in vain.
//!
//! They are told to wait for a second, and their own policy is ten milliseconds. The server's clock begins to
//! move with the first denial: an attempt that comes too early is denied, and counted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{Router, extract::Request, middleware};
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyManager, NewKey, RateLimits, Rejection, RejectionKind,
    clock::SettableClock,
    credits::NewCredits,
    key::{KeyDigest, KeyRecord},
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
    scope::ScopeRule,
    store::{FixedStore, KeyStore, MemoryStore, StoreError},
};

use crate::{
    grpcio::{Call, outcomes},
    serve::{Asks, KEY, NOW, clock, record, serve, service},
};

/// Less than what clients are told, which is in whole seconds, and far more than their own policy.
const WAIT: Duration = Duration::from_millis(800);

/// The attempts that a server has seen.
#[derive(Clone)]
struct Journal {
    clock: SettableClock,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

#[derive(Clone, Debug)]
struct Attempt {
    came: Instant,
    /// When it was denied.
    denied: Option<Instant>,
}

impl Journal {
    fn new() -> Self {
        Self { clock: clock(), attempts: Arc::default() }
    }

    fn begin(&self) -> usize {
        let mut attempts = self.attempts.lock().unwrap();
        if let Some(since) = attempts.iter().find_map(|attempt| attempt.denied) {
            self.clock.set(NOW.saturating_add(since.elapsed()));
        }
        attempts.push(Attempt { came: Instant::now(), denied: None });
        attempts.len() - 1
    }

    /// The time since the first denial, as the server's clock has it.
    fn since_denial(&self) -> Duration {
        let attempts = self.attempts.lock().unwrap();
        attempts.iter().find_map(|attempt| attempt.denied).map_or(Duration::ZERO, |at| at.elapsed())
    }

    fn around(&self, service: Router) -> Router {
        let journal = self.clone();
        service.layer(middleware::from_fn(move |request: Request, next: middleware::Next| {
            let journal = journal.clone();
            async move {
                let index = journal.begin();
                let response = next.run(request).await;
                // Trailers alone, as of a denial.
                let is_denied = response.headers().contains_key("grpc-status");
                if is_denied {
                    journal.attempts.lock().unwrap()[index].denied = Some(Instant::now());
                }
                response
            }
        }))
    }

    fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap().clone()
    }
}

/// A client's own policy: up to five attempts, nearly at once, whatever the denial. With a back-off of a
/// millisecond, grpcio would wait for ever at times, of any server.
fn eager() -> Value {
    let codes = [
        "INTERNAL",
        "INVALID_ARGUMENT",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "UNAVAILABLE",
    ];
    let policy = json!({
        "maxAttempts": 5,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": codes,
    });
    json!({ "methodConfig": [{ "name": [{}], "retryPolicy": policy }] })
}

fn known(change: impl FnOnce(&mut KeyRecord)) -> ApiKeyLayer {
    let store = FixedStore::new().with_record(record(change)).unwrap();
    ApiKeyLayer::new(store).with_clock(clock())
}

/// One call in [`WAIT`].
fn limited(journal: &Journal) -> Router {
    let quota = Quota::new(nonzero!(1), WAIT).unwrap();
    let limits = Limits::new([Limit::new("short", quota).unwrap()]).unwrap();
    let limiter = LocalLimiter::builder().with_clock(journal.clock.clone()).build();
    let layer = known(|key| key.details.limits = limits).with_rate_limits(RateLimits::new(limiter));
    journal.around(service(Asks::Key).layer(layer))
}

/// A store that is down until [`WAIT`] has gone by since it was noticed.
struct Recovering(Journal, Arc<KeyRecord>);

#[async_trait]
impl KeyStore for Recovering {
    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if self.0.since_denial() < WAIT {
            return Err(StoreError::unavailable("it is down"));
        }
        Ok(Some(self.1.clone()))
    }
}

fn recovering(journal: &Journal) -> Router {
    let store = Recovering(journal.clone(), Arc::new(record(|_| {})));
    journal.around(service(Asks::Key).layer(ApiKeyLayer::new(store).with_clock(clock())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_as_it_is_told_and_is_let_in_at_the_next_attempt() {
    let (mut calls, mut journals) = (Vec::new(), Vec::new());
    for streams in [false, true] {
        // The first call takes all that the limit lets in.
        for (serving, first) in [(limited as fn(&Journal) -> Router, 1), (recovering, 0)] {
            let journal = Journal::new();
            let call = Call::new(serve(serving(&journal)).await).with("x-api-key", KEY);
            let call = if streams { call.streaming() } else { call };
            calls.extend(vec![call.clone(); first]);
            calls.push(call.with_service_config(eager()));
            journals.push((journal, first));
        }
    }
    let Some(outcomes) = outcomes(&calls).await else { return };
    for outcome in outcomes {
        assert_eq!(outcome.code, "OK", "{outcome:?}");
    }
    for (journal, first) in journals {
        let attempts = journal.attempts();
        let denied: Vec<_> = attempts.iter().map(|attempt| attempt.denied.is_some()).collect();
        assert_eq!(denied, [vec![false; first], vec![true, false]].concat(), "{attempts:?}");
        let [.., denied, again] = &attempts[..] else { panic!("{attempts:?}") };
        let waited = again.came - denied.denied.unwrap();
        assert!(waited >= WAIT, "{waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_try_again_where_it_would_be_in_vain() {
    let store = MemoryStore::new();
    let credits = Credits::builder(store.clone()).with_cost(|_| 2).build().unwrap();
    let manager = KeyManager::new(store).with_credits(credits);
    let few = NewCredits { remaining: 1, refill: None };
    let new = NewKey { credits: Some(few), ..NewKey::named("first") };
    let poor = manager.create(new).await.unwrap().secret.expose().to_owned();
    let scopes = || Asks::Scopes(ScopeRule::scope("orders:write").unwrap());
    let by_handler = Asks::Denies(Rejection::new(RejectionKind::Unavailable));
    let mut calls = Vec::new();
    let mut journals = Vec::new();
    for (service, key, code, expected) in [
        (service(Asks::Key).layer(known(|_| {})), None, "UNAUTHENTICATED", 1),
        (service(Asks::Key).layer(known(|_| {})), Some("malformed"), "UNAUTHENTICATED", 1),
        (service(scopes()).layer(known(|_| {})), Some(KEY), "PERMISSION_DENIED", 1),
        (service(Asks::Key).layer(manager.layer()), Some(&*poor), "RESOURCE_EXHAUSTED", 1),
        (service(Asks::Key), Some(KEY), "INTERNAL", 1),
        // Where nothing says how long it takes, the client does as it likes: so the policy is in use.
        (service(by_handler).layer(known(|_| {})), Some(KEY), "UNAVAILABLE", 5),
    ] {
        let journal = Journal::new();
        let call = Call::new(serve(journal.around(service)).await).with_service_config(eager());
        let call = key.map_or(call.clone(), |key| call.with("x-api-key", key));
        calls.extend([call.clone(), call.streaming()]);
        journals.push((journal, code, 2 * expected));
    }
    let Some(outcomes) = outcomes(&calls).await else { return };
    for ((journal, code, expected), outcomes) in journals.iter().zip(outcomes.chunks(2)) {
        for outcome in outcomes {
            assert_eq!(outcome.code, *code, "{outcome:?}");
        }
        assert_eq!(journal.attempts().len(), *expected, "{code}");
    }
}
