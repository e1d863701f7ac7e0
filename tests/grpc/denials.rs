//! Each denial as grpcio shows it, of a unary call and of a stream.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use axum::Router;
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer, Credits, OwnerId, OwnerLayer, RateLimits, Rejection, RejectionKind,
    RequireScopesLayer, Scopes,
    auth::FailureThrottle,
    credits::NewCredits,
    key::{KeyDigest, KeyRecord},
    limit::{LimitCheck, LimitDecision, LocalLimiter, OutagePolicy, Quota, RateLimiter},
    manage::{KeyManager, NewKey},
    nonzero,
    scope::ScopeRule,
    store::{FixedStore, KeyStore, MemoryStore, StoreError, StoreErrorKind},
};

use crate::{
    grpcio::{Call, Outcome, outcomes},
    serve::{Asks, KEY, NOW, OTHER_KEY, clock, limited, record, serve, service},
};

type Headers = Vec<(&'static str, String)>;

/// A server, and what is sent to it.
struct Case {
    kind: RejectionKind,
    service: Router,
    headers: Headers,
    /// The reason in `ErrorInfo`, where it is not the code of the kind.
    reason: &'static str,
    /// What `ErrorInfo` says beside it.
    metadata: Value,
    /// How the message ends, after the remedy.
    remark: &'static str,
    /// The subject of `QuotaFailure`.
    exhausted: Option<&'static str>,
    /// Of `Retry-After`; a number of seconds, or whatever number it is.
    retry_after: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Retry {
    Never,
    After(u64),
    Some,
    AsTheClientLikes,
}

impl Case {
    fn new(kind: RejectionKind, service: Router, headers: Headers) -> Self {
        let (metadata, remark, exhausted) = (json!({}), "", None);
        let reason = kind.code();
        let retry_after = Retry::Never;
        Self { kind, service, headers, reason, metadata, remark, exhausted, retry_after }
    }

    fn retrying(self, retry_after: Retry) -> Self {
        Self { retry_after, ..self }
    }

    /// Whether another call comes first, after which this is the denial.
    fn has_first(&self) -> bool {
        [RejectionKind::RateLimited, RejectionKind::TooManyFailures].contains(&self.kind)
    }

    fn call(&self, server: SocketAddr) -> Call {
        let call = Call::new(server);
        self.headers.iter().fold(call, |call, (name, value)| call.with(name, value))
    }

    fn assert(&self, outcome: &Outcome) {
        let (kind, message) = (self.kind, &outcome.message);
        assert_eq!(outcome.code, code(kind), "{kind:?}: {outcome:?}");
        let expected = format!("{}: {}{}", kind.code(), kind.detail(), self.remark);
        assert_eq!(*message, expected, "{kind:?}");
        // Trailers alone: a client that has seen headers does not try again.
        assert!(!outcome.has_headers, "{outcome:?}");
        let info = outcome.details_of("ErrorInfo").unwrap();
        assert_eq!(
            (&info["reason"], &info["domain"]),
            (&json!(self.reason), &json!("tower-api-key"))
        );
        let metadata = info.get("metadata").cloned().unwrap_or(json!({}));
        assert_eq!(metadata, self.metadata, "{kind:?}");
        let quota = outcome.details_of("QuotaFailure");
        assert_eq!(
            quota.map(|quota| &quota["violations"][0]["subject"]),
            self.exhausted.map(|s| json!(s)).as_ref()
        );
        let seconds = outcome.trailer("retry-after").map(|text| text.parse::<u64>().unwrap());
        let delay =
            outcome.details_of("RetryInfo").map(|info| info["retryDelay"].as_str().unwrap());
        assert_eq!(delay, seconds.map(|seconds| format!("{seconds}s")).as_deref());
        let pushback =
            outcome.trailer("grpc-retry-pushback-ms").map(|text| text.parse::<i64>().unwrap());
        // No client is asked to wait by itself for more than a minute.
        let millis = seconds.map(|seconds| match i64::try_from(seconds).unwrap() {
            seconds @ ..=60 => seconds * 1_000,
            _ => -1,
        });
        match self.retry_after {
            Retry::Never => assert_eq!((seconds, pushback), (None, Some(-1)), "{kind:?}"),
            Retry::AsTheClientLikes => assert_eq!((seconds, pushback), (None, None), "{kind:?}"),
            Retry::After(after) => {
                assert_eq!((seconds, pushback), (Some(after), millis), "{kind:?}");
            }
            Retry::Some => assert!(seconds.is_some() && pushback == millis, "{outcome:?}"),
        }
    }
}

/// The name of the status code.
fn code(kind: RejectionKind) -> &'static str {
    match kind.grpc_status() {
        3 => "INVALID_ARGUMENT",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        other => panic!("{kind:?}: {other}"),
    }
}

fn key() -> Headers {
    vec![("x-api-key", KEY.to_owned())]
}

fn of(name: &'static str, value: &str) -> Headers {
    vec![(name, value.to_owned())]
}

/// A layer that knows one key, changed.
fn layer(change: impl FnOnce(&mut KeyRecord)) -> ApiKeyLayer {
    let store = FixedStore::new().with_record(record(change)).unwrap();
    ApiKeyLayer::new(store).with_clock(clock())
}

fn behind(layer: ApiKeyLayer) -> Router {
    service(Asks::Key).layer(layer)
}

/// Bad keys: each is denied without a word of anything else.
fn bad_keys() -> Vec<(RejectionKind, ApiKeyLayer, Headers)> {
    use RejectionKind as K;
    let later = NOW.saturating_add(Duration::from_secs(1));
    let networks = || ["192.0.2.1/32".parse().unwrap()].into();
    vec![
        (K::Malformed, layer(|_| {}), of("x-api-key", "malformed")),
        (K::Unknown, layer(|_| {}), of("x-api-key", OTHER_KEY)),
        (K::Revoked, layer(|key| key.details.revoked_at = Some(NOW)), key()),
        (K::Disabled, layer(|key| key.disabled = true), key()),
        (K::NotYetValid, layer(|key| key.details.not_before = Some(later)), key()),
        (K::Expired, layer(|key| key.expires_at = Some(NOW)), key()),
        (K::AddressNotAllowed, layer(|key| key.details.allowed_addresses = networks()), key()),
    ]
}

/// A service whose owner of each key is inactive.
fn without_owners(layer: ApiKeyLayer) -> Router {
    let inactive = OwnerLayer::new(async |_: OwnerId| Ok::<Option<String>, Infallible>(None));
    service(Asks::Owner).layer(inactive).layer(layer)
}

fn owned() -> ApiKeyLayer {
    layer(|key| key.owner = Some("user-1".into()))
}

struct Failing(StoreErrorKind);

#[async_trait]
impl KeyStore for Failing {
    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Err(StoreError::new(self.0))
    }
}

#[async_trait]
impl RateLimiter for Failing {
    async fn check(&self, _: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        Err(StoreError::new(self.0))
    }

    fn give_back(&self, _: &LimitCheck<'_>, _: Duration) {}
}

/// Denials by the layer that judges keys, and by others.
async fn cases() -> Vec<Case> {
    use RejectionKind as K;
    let mut cases: Vec<_> = bad_keys()
        .into_iter()
        .map(|(kind, layer, headers)| Case::new(kind, behind(layer), headers))
        .collect();
    let twice = [key(), of("authorization", &format!("Bearer {KEY}"))].concat();
    let secure = layer(|_| {}).require_secure_transport();
    cases.extend([
        Case::new(K::Missing, behind(layer(|_| {})), vec![]),
        Case::new(K::Missing, behind(layer(|_| {}).allow_anonymous()), vec![]),
        Case::new(K::Ambiguous, behind(layer(|_| {})), twice),
        Case::new(K::InactiveOwner, without_owners(owned()), key()),
        Case::new(K::InsecureTransport, behind(secure), key()),
    ]);
    cases.extend(scopes());
    cases.extend(exhausted().await);
    cases.extend(unavailable());
    cases
}

/// Scopes that a layer asks for, and a handler.
fn scopes() -> impl Iterator<Item = Case> {
    let rule =
        || ScopeRule::all(["orders:read", "orders:write"].map(|s| ScopeRule::scope(s).unwrap()));
    let by_layer = service(Asks::Key).layer(RequireScopesLayer::new(rule())).layer(layer(|_| {}));
    let by_handler = service(Asks::Scopes(rule())).layer(layer(|_| {}));
    [by_layer, by_handler].into_iter().map(|service| Case {
        metadata: json!({ "missing_scopes": "orders:read orders:write" }),
        remark: " Missing: orders:read, orders:write.",
        ..Case::new(RejectionKind::InsufficientScope, service, key())
    })
}

/// Nothing is left after the first call: the clock does not move.
async fn exhausted() -> [Case; 3] {
    use RejectionKind as K;
    let limiter = LocalLimiter::builder().with_clock(clock()).build();
    let rates = layer(limited).with_rate_limits(RateLimits::new(limiter));
    let store = MemoryStore::new();
    let credits = Credits::builder(store.clone()).with_cost(|_| 2).build().unwrap();
    let manager = KeyManager::new(store).with_credits(credits);
    let few = NewCredits { remaining: 1, refill: None };
    let new = NewKey { credits: Some(few), ..NewKey::named("first") };
    let poor = manager.create(new).await.unwrap().secret.expose().to_owned();
    let none = Quota::per_hour(nonzero!(1));
    let throttle = FailureThrottle::builder(none).with_clock(clock()).build();
    let throttled = layer(|_| {})
        .with_client_address(|_| "192.0.2.7".parse::<IpAddr>().ok())
        .with_failure_throttle(throttle)
        .unwrap();
    [
        Case {
            metadata: json!({ "limit": "hourly" }),
            remark: " Limit: hourly.",
            exhausted: Some("limit:hourly"),
            ..Case::new(K::RateLimited, behind(rates), key()).retrying(Retry::Some)
        },
        Case {
            metadata: json!({ "credits_remaining": "1" }),
            remark: " Credits left: 1.",
            exhausted: Some("credits"),
            ..Case::new(K::CreditsExhausted, behind(manager.layer()), of("x-api-key", &poor))
        },
        Case::new(K::TooManyFailures, behind(throttled), of("x-api-key", OTHER_KEY))
            .retrying(Retry::Some),
    ]
}

fn unavailable() -> [Case; 4] {
    use RejectionKind as K;
    let failing = |kind| behind(ApiKeyLayer::new(Failing(kind)));
    let closed =
        RateLimits::new(Failing(StoreErrorKind::Unavailable)).with_outage(OutagePolicy::FailClosed);
    let by_handler = service(Asks::Denies(Rejection::new(K::Unavailable))).layer(layer(|_| {}));
    [
        Case::new(K::Unavailable, failing(StoreErrorKind::Unavailable), key())
            .retrying(Retry::After(1)),
        Case::new(K::Overloaded, failing(StoreErrorKind::Overloaded), key()).retrying(Retry::Some),
        Case::new(K::LimiterUnavailable, behind(layer(limited).with_rate_limits(closed)), key())
            .retrying(Retry::After(1)),
        Case::new(K::Unavailable, by_handler, key()).retrying(Retry::AsTheClientLikes),
    ]
}

/// Makes each call as a unary one and as a stream, one after the other.
async fn make(cases: &[Case]) -> Option<Vec<[Outcome; 2]>> {
    let mut calls = Vec::new();
    for case in cases {
        let server = serve(case.service.clone()).await;
        if case.has_first() {
            calls.push(case.call(server));
        }
        calls.extend([case.call(server), case.call(server).streaming()]);
    }
    let mut outcomes = outcomes(&calls).await?.into_iter();
    let of = |case: &Case| {
        if case.has_first() {
            assert_ne!(outcomes.next().unwrap().code, code(case.kind));
        }
        [outcomes.next().unwrap(), outcomes.next().unwrap()]
    };
    Some(cases.iter().map(of).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_reads_the_status_and_the_details_of_each() {
    let cases = cases().await;
    let Some(outcomes) = make(&cases).await else { return };
    for (case, outcomes) in cases.iter().zip(&outcomes) {
        for outcome in outcomes {
            case.assert(outcome);
        }
    }
    let kinds = |kind: &RejectionKind| cases.iter().any(|case| case.kind == *kind);
    let left_out: Vec<_> = RejectionKind::all().filter(|kind| !kinds(kind)).collect();
    // A browser's, and a proxy's.
    assert_eq!(left_out, [RejectionKind::CrossSite, RejectionKind::ForwardAuthRefused]);
}

/// Whether a key exists, and why it is no use, is in no byte of a uniform denial.
#[tokio::test(flavor = "multi_thread")]
async fn grpcio_cannot_tell_uniform_denials_apart() {
    let mut cases: Vec<_> = bad_keys()
        .into_iter()
        .map(|(kind, layer, headers)| {
            Case::new(kind, behind(layer.with_uniform_denials()), headers)
        })
        .collect();
    let uniform = || owned().with_uniform_denials();
    let inactive = RejectionKind::InactiveOwner;
    cases.push(Case::new(inactive, without_owners(uniform()), key()));
    for kind in [RejectionKind::Revoked, inactive, RejectionKind::AddressNotAllowed] {
        let denies = Asks::Denies(Rejection::new(kind).with_retry_after(Duration::from_secs(9)));
        cases.push(Case::new(kind, service(denies).layer(uniform()), key()));
    }
    let Some(mut outcomes) = make(&cases).await else { return };
    let [unary, stream] = outcomes.remove(0);
    assert_eq!(unary, stream);
    for (case, outcomes) in cases[1..].iter().zip(&outcomes) {
        for outcome in outcomes {
            assert_eq!(*outcome, unary, "{:?}", case.kind);
        }
    }
    assert_eq!(
        (&*unary.code, &*unary.message),
        ("UNAUTHENTICATED", "invalid_key: This API key is not valid.")
    );
    let details = [json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "invalid_key",
        "domain": "tower-api-key",
    })];
    assert_eq!(unary.details.as_deref(), Some(&details[..]));
    assert_eq!(unary.trailer("grpc-retry-pushback-ms"), Some("-1"));
}

/// grpcio refuses more than 16 KiB of trailers, and other clients 8 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn grpcio_reads_a_denial_with_very_many_missing_scopes() {
    let missing = (0..2_000).map(|index| format!("orders:of-a-department-{index:04}:write"));
    let missing = Scopes::parse(missing).unwrap();
    let denies = Asks::Denies(Rejection::insufficient_scope(missing));
    let server = serve(service(denies).layer(layer(|_| {}))).await;
    let call = Call::new(server).with("x-api-key", KEY);
    let Some(outcomes) = outcomes(&[call]).await else { return };
    assert_eq!(outcomes[0].code, "PERMISSION_DENIED", "{outcomes:?}");
    let metadata = &outcomes[0].details_of("ErrorInfo").unwrap()["metadata"];
    let listed = metadata["missing_scopes"].as_str().unwrap().split(' ').count();
    assert_eq!(metadata["missing_scopes_left_out"], (2_000 - listed).to_string());
    let ends = format!(", and {} more.", 2_000 - listed);
    assert!(outcomes[0].message.ends_with(&ends), "{}", outcomes[0].message);
}

/// A layer that is missing is a mistake of the program.
#[tokio::test(flavor = "multi_thread")]
async fn grpcio_is_told_which_layer_is_missing() {
    let mut calls = Vec::new();
    for (asks, layers) in [
        (Asks::Key, None),
        (Asks::NoKey, None),
        (Asks::Scopes(ScopeRule::scope("a").unwrap()), None),
        (Asks::Owner, Some(layer(|_| {}))),
    ] {
        let service = match layers {
            Some(layer) => service(asks).layer(layer),
            None => service(asks),
        };
        let call = Call::new(serve(service).await).with("x-api-key", KEY);
        calls.extend([call.clone(), call.streaming()]);
    }
    let Some(outcomes) = outcomes(&calls).await else { return };
    for outcome in outcomes {
        assert_eq!(outcome.code, "INTERNAL", "{outcome:?}");
        assert!(outcome.message.contains("add `tower_api_key::"), "{outcome:?}");
        assert_eq!(outcome.trailer("grpc-retry-pushback-ms"), Some("-1"));
    }
}
