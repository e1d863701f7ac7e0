//! The details of a denial over gRPC: `google.rpc.Status` in `grpc-status-details-bin`, read by
//! `tonic-types`, and `grpc-retry-pushback-ms`.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::IpAddr,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, service_fn};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyManager, NewKey, OwnerId, OwnerLayer, RateLimits, Rejection,
    RejectionKind, RequireScopesLayer, Scopes,
    auth::FailureThrottle,
    clock::SettableClock,
    credits::{NewCredits, Refill, RefillInterval},
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
    store::MemoryStore,
};

use crate::{
    denials::denied,
    grpc::as_grpc,
    stores::TestStore,
    support::{
        KEY, OTHER_KEY, clock, get, header_values, record, record_with, respond, respond_now, send,
        send_waiting, with_key,
    },
};

const NATIVE: &str = "application/grpc";

/// The status as a client reads it.
fn status(response: &Response<Bytes>) -> Status {
    assert_eq!(response.status(), 200);
    Status::from_header_map(response.headers()).expect("a status")
}

fn details(response: &Response<Bytes>) -> ErrorDetails {
    status(response).check_error_details().unwrap()
}

fn pushback(response: &Response<Bytes>) -> Option<i32> {
    let values = header_values(response, http::HeaderName::from_static("grpc-retry-pushback-ms"));
    assert!(values.len() <= 1, "{values:?}");
    values.first().map(|value| value.parse().unwrap())
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// Each of the three messages.
fn text(details: &ErrorDetails) -> String {
    let metadata =
        details.error_info().map(|info| info.metadata.iter().collect::<BTreeMap<_, _>>());
    let info = details.error_info().map(|info| (&info.reason, &info.domain, metadata));
    format!("{info:?} {:?} {:?}", details.retry_info(), details.quota_failure())
}

/// With these texts as metadata, the details have the bytes that `tonic-types` makes of them.
fn assert_details(response: &Response<Bytes>, expected: ErrorDetails) {
    let status = status(response);
    assert_eq!(text(&status.check_error_details().unwrap()), text(&expected));
    if expected.error_info().is_none_or(|info| info.metadata.len() < 2) {
        let made = Status::with_error_details(status.code(), status.message(), expected);
        assert_eq!(status.details(), made.details());
    }
}

fn info(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ErrorDetails::with_error_info(reason, "tower-api-key", metadata.collect::<HashMap<_, _>>())
}

#[tokio::test]
async fn each_denial_tells_its_reason_and_whether_to_try_again() {
    for (kind, layer, request) in denied() {
        let web = "application/grpc-web+proto";
        for content_type in [NATIVE, web] {
            let layer = layer.clone().with_grpc_web_denials();
            let response = send_waiting(&layer, as_grpc(request.clone(), content_type)).await;
            let response = response.response;
            let mut expected = info(kind.code(), &[]);
            let retry_after = header_values(&response, http::header::RETRY_AFTER);
            if let [wait] = retry_after[..] {
                let wait: u64 = wait.parse().unwrap();
                expected.set_retry_info(Some(seconds(wait)));
                assert_eq!(pushback(&response), Some(i32::try_from(wait).unwrap() * 1_000));
            } else {
                assert_eq!(pushback(&response), Some(-1), "{kind:?}");
            }
            assert_eq!(retry_after.len(), usize::from(kind.status() == 503), "{kind:?}");
            assert_eq!(status(&response).code(), Code::from(i32::from(kind.grpc_status())));
            assert_details(&response, expected);
        }
    }
}

/// What is in the details goes without padding, as gRPC asks.
#[tokio::test]
async fn the_header_has_no_padding() {
    for (kind, layer, request) in denied() {
        let response = send_waiting(&layer, as_grpc(request, NATIVE)).await.response;
        let header = response.headers()["grpc-status-details-bin"].to_str().unwrap();
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        assert!(header.bytes().all(is_base64), "{kind:?}: {header}");
    }
}

fn named(quota: Quota) -> Limits {
    Limits::new([Limit::new("minute", quota).unwrap()]).unwrap()
}

#[test]
fn a_limit_that_is_used_up_is_named() {
    let limited = record_with(KEY, |key| key.details.limits = named(Quota::per_hour(nonzero!(1))));
    let limiter = LocalLimiter::builder().with_clock(clock()).build();
    let layer = ApiKeyLayer::new(TestStore::new([limited]))
        .with_clock(clock())
        .with_rate_limits(RateLimits::new(limiter));
    let ask = || send(&layer, as_grpc(with_key(KEY), NATIVE));
    assert!(ask().seen.is_some());
    let denied = ask().response;
    let mut expected = info("rate_limited", &[("limit", "minute")]);
    expected.set_retry_info(Some(seconds(3600)));
    expected.add_quota_failure_violation("limit:minute", RejectionKind::RateLimited.detail());
    assert_details(&denied, expected);
    assert_eq!(pushback(&denied), Some(-1), "no client is to hold the call for an hour");
    let status = status(&denied);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().ends_with(" Limit: minute."), "{}", status.message());
}

/// A key with no more than these credits, and the clock of its layer.
async fn with_credits(credits: NewCredits) -> (ApiKeyLayer, String, SettableClock) {
    let clock = clock();
    let store = MemoryStore::new().with_clock(clock.clone());
    let spending =
        Credits::builder(store.clone()).with_clock(clock.clone()).with_cost(|_| 2).build().unwrap();
    let manager = KeyManager::new(store).with_clock(clock.clone()).with_credits(spending);
    let new = NewKey { credits: Some(credits), ..NewKey::named("key") };
    let key = manager.create(new).await.unwrap().secret.expose().to_owned();
    (manager.layer(), key, clock)
}

/// Nothing brings credits back by itself but a refill.
#[tokio::test]
async fn credits_that_are_used_up_are_worth_another_try_only_with_a_refill() {
    let daily = Refill::new(nonzero!(5).into(), RefillInterval::Seconds(nonzero!(86_400)));
    for (refill, retry) in [(None, None), (Some(daily), Some(86_400))] {
        let (layer, key, _clock) = with_credits(NewCredits { remaining: 1, refill }).await;
        let denied = send_waiting(&layer, as_grpc(with_key(&key), NATIVE)).await.response;
        let mut expected = info("credits_exhausted", &[("credits_remaining", "1")]);
        expected.add_quota_failure_violation("credits", RejectionKind::CreditsExhausted.detail());
        if let Some(retry) = retry {
            expected.set_retry_info(Some(seconds(retry)));
        }
        assert_details(&denied, expected);
        assert_eq!(pushback(&denied), Some(-1));
        let message = status(&denied).message().to_owned();
        assert!(message.ends_with(" Credits left: 1."), "{message}");
    }
}

#[test]
fn a_client_that_has_failed_too_often_is_told_when_to_come_back() {
    let throttle =
        FailureThrottle::builder(Quota::per_hour(nonzero!(1))).with_clock(clock()).build();
    let layer = ApiKeyLayer::new(TestStore::new([]))
        .with_client_address(|_| "192.0.2.7".parse::<IpAddr>().ok())
        .with_failure_throttle(throttle)
        .unwrap();
    let ask = || send(&layer, as_grpc(with_key(OTHER_KEY), NATIVE)).response;
    assert_eq!(status(&ask()).code(), Code::Unauthenticated);
    let denied = ask();
    let mut expected = info("too_many_failures", &[]);
    let details = details(&denied);
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    expected.set_retry_info(Some(wait));
    // No quota of the key's: the client may have none.
    assert_details(&denied, expected);
    assert_eq!((wait, pushback(&denied)), (seconds(3_600), Some(-1)));
}

/// The response to a key that lacks all of these scopes.
fn lacking(scopes: &[String]) -> Response<Bytes> {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]));
    let scopes = RequireScopesLayer::all(scopes.iter().map(String::as_str)).unwrap();
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    respond_now(layer.layer(scopes.layer(inner)), as_grpc(with_key(KEY), NATIVE))
}

#[test]
fn missing_scopes_are_named() {
    let denied = lacking(&["orders:write".to_owned(), "orders:read".to_owned()]);
    let metadata = [("missing_scopes", "orders:read orders:write")];
    assert_details(&denied, info("insufficient_scope", &metadata));
    assert_eq!(pushback(&denied), Some(-1));
    let message = status(&denied).message().to_owned();
    assert!(message.ends_with(" Missing: orders:read, orders:write."), "{message}");
}

/// Clients refuse a response whose headers take more than 8 KiB, some of them.
#[test]
fn very_many_missing_scopes_are_counted() {
    const LONGEST: usize = 128;
    for (number, length) in [(1, LONGEST), (4, LONGEST), (5, LONGEST), (1_000, LONGEST), (400, 4)] {
        let scope = |index: usize| format!("{}{index:03}", "s".repeat(length - 3));
        let scopes: Vec<_> = (0..number).map(scope).collect();
        let denied = lacking(&scopes);
        let size: usize =
            denied.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(size < 4_096, "{size} bytes for {number} scopes");
        let details = details(&denied);
        let metadata = &details.error_info().unwrap().metadata;
        let listed: Vec<_> = metadata["missing_scopes"].split(' ').map(str::to_owned).collect();
        assert_eq!(listed, scopes[..listed.len()], "whole names, from the first on");
        let left_out = number - listed.len();
        let told = metadata.get("missing_scopes_left_out");
        assert_eq!(told.map(String::as_str), (left_out > 0).then_some(&*left_out.to_string()));
        let message = status(&denied).message().to_owned();
        let ends = format!("{}, and {left_out} more.", listed.last().unwrap());
        assert_eq!(message.ends_with(&ends), left_out > 0, "{message}");
        assert_eq!(left_out > 0, scopes.join(" ").len() > 512);
        // As one text, a challenge has all of them or none.
        let all = format!("scope=\"{}\"", scopes.join(" "));
        for challenge in header_values(&denied, http::header::WWW_AUTHENTICATE) {
            assert_eq!(challenge.contains(&all), left_out == 0);
            assert_eq!(challenge.contains("scope=\""), left_out == 0);
        }
    }
}

/// A client waits by itself for a minute at most. The details tell the whole time, up to the longest that a
/// `Duration` has.
#[test]
fn a_client_holds_no_call_for_more_than_a_minute() {
    for (wait, pushed_back, told) in [
        (seconds(0), 1_000, seconds(1)),
        (Duration::from_millis(1_001), 2_000, seconds(2)),
        (seconds(60), 60_000, seconds(60)),
        (Duration::from_millis(60_001), -1, seconds(61)),
        (seconds(2_147_483), -1, seconds(2_147_483)),
        (seconds(2_147_484), -1, seconds(2_147_484)),
        (seconds(u64::MAX), -1, seconds(315_576_000_000)),
    ] {
        let rejection = Rejection::new(RejectionKind::Unavailable).with_retry_after(wait);
        let denied = from_inside(&ApiKeyLayer::new(TestStore::new([record(KEY)])), &rejection);
        assert_eq!(pushback(&denied), Some(pushed_back));
        assert_eq!(details(&denied).retry_info().unwrap().retry_delay, Some(told));
        let retry_after = header_values(&denied, http::header::RETRY_AFTER);
        assert_eq!(retry_after, [wait.as_millis().div_ceil(1_000).max(1).to_string()]);
    }
}

/// A handler of tonic's that denies by itself, without the feature for it: the layer outside answers.
fn from_inside(layer: &ApiKeyLayer, rejection: &Rejection) -> Response<Bytes> {
    let inner = service_fn(async |_: Request<()>| {
        let mut response = Response::new(Full::<Bytes>::default());
        response.extensions_mut().insert(rejection.clone());
        let headers = response.headers_mut();
        for (name, value) in [
            ("content-type", NATIVE),
            ("grpc-status", "2"),
            ("grpc-message", "of the handler"),
            ("grpc-status-details-bin", "AAAA"),
            ("grpc-retry-pushback-ms", "1"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        Ok::<_, Infallible>(response)
    });
    respond_now(layer.layer(inner), as_grpc(with_key(KEY), NATIVE))
}

/// Without a wait, the client's own policy decides about what may pass by itself.
#[test]
fn handlers_denials_are_worth_another_try_where_their_kind_is() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]));
    for kind in RejectionKind::all() {
        use RejectionKind::{
            LimiterUnavailable, Overloaded, RateLimited, TooManyFailures, Unavailable,
        };
        let may_pass = matches!(
            kind,
            RateLimited | TooManyFailures | Unavailable | Overloaded | LimiterUnavailable
        );
        let denied = from_inside(&layer, &Rejection::new(kind));
        assert_eq!(pushback(&denied), (!may_pass).then_some(-1), "{kind:?}");
        let expected = match kind {
            RateLimited => Some("limit"),
            RejectionKind::CreditsExhausted => Some("credits"),
            _ => None,
        };
        let details = details(&denied);
        let subject = details.quota_failure().map(|failure| &*failure.violations[0].subject);
        assert_eq!(subject, expected, "{kind:?}");
        let denied =
            from_inside(&layer, &Rejection::new(kind).with_retry_after(Duration::from_secs(7)));
        let is_of_load = [429, 503].contains(&kind.status().as_u16());
        assert_eq!(pushback(&denied), Some(if is_of_load { 7_000 } else { -1 }), "{kind:?}");
    }
}

/// Whatever is the matter with a key, and whatever makes the denial, its bytes are the same.
#[tokio::test]
async fn uniform_denials_have_the_same_details() {
    let (mut seen, mut kinds) = (Vec::new(), Vec::new());
    let bytes = |response: &Response<Bytes>| {
        // In their order, which is a byte as well.
        let headers: Vec<_> = response.headers().iter().collect();
        format!("{headers:?} {:?}", response.body())
    };
    let mut note = |response: &Response<Bytes>| {
        let kind = response.extensions().get::<Rejection>().unwrap().kind();
        if kind.grpc_status() == 16 && kind != RejectionKind::Missing
            || kind == RejectionKind::AddressNotAllowed
        {
            kinds.push(kind);
            seen.push(bytes(response));
        }
    };
    for (_, layer, request) in denied() {
        let layer = layer.with_uniform_denials();
        note(&send_waiting(&layer, as_grpc(request, NATIVE)).await.response);
    }
    let owned = record_with(KEY, |key| {
        key.owner = Some("user-1".into());
        key.details.limits = named(Quota::per_minute(nonzero!(900)));
    });
    let layer = ApiKeyLayer::new(TestStore::new([owned]))
        .with_rate_limits(RateLimits::new(LocalLimiter::new()))
        .with_uniform_denials();
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    let inactive = OwnerLayer::new(async |_: OwnerId| Ok::<Option<()>, Infallible>(None));
    let service = layer.layer(inactive.layer(inner));
    note(&respond(service, as_grpc(with_key(KEY), NATIVE)).await);
    // By handlers, which say more of it.
    for kind in RejectionKind::all() {
        let rejection = Rejection::new(kind).with_retry_after(seconds(9)).with_key(record(KEY).id);
        note(&from_inside(&layer, &rejection));
        #[cfg(feature = "tonic")]
        note(&status_from_inside(&layer, &rejection));
    }
    assert!(kinds.len() > 20 || !cfg!(feature = "tonic"), "{kinds:?}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    let layer = ApiKeyLayer::new(TestStore::new([])).with_uniform_denials();
    let denied = send(&layer, as_grpc(with_key(KEY), NATIVE)).response;
    assert_eq!(seen, [bytes(&denied)]);
    assert_details(&denied, info("invalid_key", &[]));
    assert_eq!(pushback(&denied), Some(-1));
}

/// The same of a handler with the feature for it.
#[cfg(feature = "tonic")]
pub(crate) fn status_from_inside(
    layer: &ApiKeyLayer,
    status: &(impl Into<Status> + Clone),
) -> Response<Bytes> {
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(status.clone().into().into_http::<Full<Bytes>>())
    });
    respond_now(layer.layer(inner), as_grpc(with_key(KEY), NATIVE))
}

#[test]
fn a_mistake_of_the_program_is_not_worth_another_try() {
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    let scopes = RequireScopesLayer::all(["orders:write"]).unwrap();
    let denied = respond_now(scopes.layer(inner), as_grpc(get("/"), NATIVE));
    assert_eq!((status(&denied).code(), pushback(&denied)), (Code::Internal, Some(-1)));
    assert!(!denied.headers().contains_key("grpc-status-details-bin"));
}

/// What is not gRPC has no header of it.
#[tokio::test]
async fn problems_have_none_of_it() {
    for (kind, layer, request) in denied() {
        let headers = send_waiting(&layer, request).await.response.headers().clone();
        assert!(!headers.keys().any(|name| name.as_str().starts_with("grpc-")), "{kind:?}");
    }
    let rejection = Rejection::insufficient_scope(Scopes::parse(["a"]).unwrap());
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).without_grpc_denials();
    let denied = from_inside(&layer, &rejection);
    assert_eq!(denied.status(), 403);
    assert!(!denied.headers().keys().any(|name| name.as_str().starts_with("grpc-")));
}
