//! The rejection table, in `RejectionKind` and in responses, and what every denial carries.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use tower_api_key::{
    ApiKeyLayer, KeySource, Rejection, RejectionKind, key::KeyRecord, store::StoreErrorKind,
};

use crate::{
    limits::outage::{Conduct, failing_closed},
    stores::TestStore,
    support::{
        KEY, OTHER_KEY, at, clock, code, get, header_values, problem, record, record_with, request,
        send, send_waiting, with_key,
    },
};

/// Kind, HTTP status, gRPC status, code and challenge error: the contract with clients.
#[rustfmt::skip]
pub(crate) const TABLE: [(RejectionKind, u16, u8, &str, Option<&str>); 20] = [
    (RejectionKind::Missing,           401, 16, "missing_key",         None),
    (RejectionKind::Ambiguous,         400,  3, "ambiguous_key",       Some("invalid_request")),
    (RejectionKind::Malformed,         401, 16, "malformed_key",       Some("invalid_token")),
    (RejectionKind::Unknown,           401, 16, "unknown_key",         Some("invalid_token")),
    (RejectionKind::Revoked,           401, 16, "revoked_key",         Some("invalid_token")),
    (RejectionKind::Disabled,          401, 16, "disabled_key",        Some("invalid_token")),
    (RejectionKind::NotYetValid,       401, 16, "not_yet_valid_key",   Some("invalid_token")),
    (RejectionKind::Expired,           401, 16, "expired_key",         Some("invalid_token")),
    (RejectionKind::InactiveOwner,     401, 16, "inactive_owner",      Some("invalid_token")),
    (RejectionKind::InsecureTransport, 403,  7, "insecure_transport",  None),
    (RejectionKind::AddressNotAllowed, 403,  7, "address_not_allowed", None),
    (RejectionKind::InsufficientScope, 403,  7, "insufficient_scope",  Some("insufficient_scope")),
    (RejectionKind::CrossSite,         403,  7, "cross_site_request",  None),
    (RejectionKind::ForwardAuthRefused, 403, 7, "forward_auth_refused", None),
    (RejectionKind::RateLimited,       429,  8, "rate_limited",        None),
    (RejectionKind::CreditsExhausted,  429,  8, "credits_exhausted",   None),
    (RejectionKind::TooManyFailures,   429,  8, "too_many_failures",   None),
    (RejectionKind::Unavailable,       503, 14, "store_unavailable",   None),
    (RejectionKind::Overloaded,        503, 14, "lookup_overloaded",   None),
    (RejectionKind::LimiterUnavailable, 503, 14, "limiter_unavailable", None),
];

/// Layers and requests that are denied by the layer itself, with the kind of the denial.
pub(crate) fn denied() -> Vec<(RejectionKind, ApiKeyLayer, Request<()>)> {
    fn stored(change: impl FnOnce(&mut KeyRecord)) -> ApiKeyLayer {
        ApiKeyLayer::new(TestStore::waiting([record_with(KEY, change)])).with_clock(clock())
    }
    let good = || stored(|_| {});
    let failing = |kind| ApiKeyLayer::new(TestStore::failing(kind));
    vec![
        (RejectionKind::Missing, good(), get("/")),
        (RejectionKind::Ambiguous, good(), request(&[("x-api-key", KEY), ("x-api-key", KEY)])),
        (RejectionKind::Malformed, good(), with_key("malformed")),
        (RejectionKind::Unknown, good(), with_key(OTHER_KEY)),
        (RejectionKind::Revoked, stored(|key| key.details.revoked_at = Some(at(0))), with_key(KEY)),
        (RejectionKind::Disabled, stored(|key| key.disabled = true), with_key(KEY)),
        (
            RejectionKind::NotYetValid,
            stored(|key| key.details.not_before = Some(at(1))),
            with_key(KEY),
        ),
        (RejectionKind::Expired, stored(|key| key.expires_at = Some(at(0))), with_key(KEY)),
        (RejectionKind::InsecureTransport, good().require_secure_transport(), with_key(KEY)),
        (
            RejectionKind::AddressNotAllowed,
            stored(|key| key.details.allowed_addresses = ["192.0.2.1/32".parse().unwrap()].into()),
            with_key(KEY),
        ),
        (
            RejectionKind::CrossSite,
            good().with_source(KeySource::cookie("key").unwrap()),
            from_another_site(),
        ),
        (RejectionKind::Unavailable, failing(StoreErrorKind::Unavailable), with_key(KEY)),
        (RejectionKind::Overloaded, failing(StoreErrorKind::Overloaded), with_key(KEY)),
        (
            RejectionKind::LimiterUnavailable,
            good().with_rate_limits(failing_closed(Conduct::Fails)),
            with_key(KEY),
        ),
    ]
}

/// What a page of another site has a browser send.
fn from_another_site() -> Request<()> {
    let cookie = format!("key={KEY}");
    let headers = [("cookie", &*cookie), ("sec-fetch-site", "cross-site")];
    let mut request = request(&headers);
    *request.method_mut() = Method::POST;
    request
}

/// The row of a kind.
fn row(kind: RejectionKind) -> (u16, u8, &'static str, Option<&'static str>) {
    let (_, status, grpc, code, error) = TABLE.into_iter().find(|row| row.0 == kind).unwrap();
    (status, grpc, code, error)
}

#[test]
fn kinds_mean_what_the_table_says() {
    assert_eq!(RejectionKind::all().collect::<Vec<_>>(), TABLE.map(|row| row.0));
    for (kind, status, grpc, code, _) in TABLE {
        assert_eq!(kind.status().as_u16(), status, "{kind:?}");
        assert_eq!(kind.grpc_status(), grpc, "{kind:?}");
        assert_eq!(kind.code(), code, "{kind:?}");
    }
    let details: HashSet<_> = RejectionKind::all().map(RejectionKind::detail).collect();
    assert_eq!(details.len(), TABLE.len(), "each kind says something of its own");
}

#[tokio::test]
async fn responses_are_problems_with_what_the_table_says() {
    for (kind, layer, request) in denied() {
        let answer = send_waiting(&layer, request).await;
        let (status, _, expected, _) = row(kind);
        assert_eq!(answer.response.status(), status, "{kind:?}");
        assert_eq!(code(&answer.response), expected);
        let problem = problem(&answer.response);
        let mut members: Vec<_> = problem.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["code", "detail", "status", "title", "type"]);
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"], answer.response.status().canonical_reason().unwrap());
        assert_eq!(problem["status"], status);
        assert_eq!(problem["detail"], kind.detail());
    }
}

#[tokio::test]
async fn every_denial_is_kept_out_of_caches_and_says_when_to_come_back() {
    for (kind, layer, request) in denied() {
        let answer = send_waiting(&layer, request).await;
        assert_eq!(header_values(&answer.response, header::CACHE_CONTROL), ["no-store"]);
        let retry = header_values(&answer.response, header::RETRY_AFTER);
        match kind {
            // There are too many: not all of them at once.
            RejectionKind::Overloaded => {
                assert!(matches!(retry[..], [one] if (1..=8).contains(&one.parse().unwrap())));
            }
            _ if answer.response.status() == 503 => assert_eq!(retry, ["1"], "{kind:?}"),
            _ => assert_eq!(retry, [""; 0], "{kind:?}"),
        }
    }
}

#[tokio::test]
async fn challenges_are_one_for_each_family_and_only_where_a_key_would_help() {
    for (kind, layer, request) in denied() {
        let layer = layer.with_realm("shop").with_sources([
            KeySource::x_api_key(),
            KeySource::header("x-old-key").unwrap(),
            KeySource::bearer(),
            KeySource::header_scheme("authorization", "Token").unwrap(),
            KeySource::query("api_key").unwrap(),
            KeySource::cookie("key").unwrap(),
        ]);
        let answer = send_waiting(&layer, request).await;
        let challenges = header_values(&answer.response, header::WWW_AUTHENTICATE);
        if [400, 401].contains(&row(kind).0) {
            let error = row(kind).3.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
            let expected = [
                r#"ApiKey realm="shop", in="header", name="x-api-key,x-old-key""#,
                r#"Bearer realm="shop""#,
                r#"Token realm="shop""#,
                r#"ApiKey realm="shop", in="query", name="api_key""#,
                r#"ApiKey realm="shop", in="cookie", name="key""#,
            ];
            assert_eq!(challenges, expected.map(|family| format!("{family}{error}")), "{kind:?}");
        } else {
            assert!(challenges.is_empty(), "{kind:?}: {challenges:?}");
        }
    }
}

#[tokio::test]
async fn outer_layers_find_the_rejection_in_the_response() {
    for (kind, layer, request) in denied() {
        let answer = send_waiting(&layer, request).await;
        assert_eq!(answer.rejection().kind(), kind);
        let key_is_known = matches!(
            kind,
            RejectionKind::Revoked
                | RejectionKind::Disabled
                | RejectionKind::NotYetValid
                | RejectionKind::Expired
                | RejectionKind::AddressNotAllowed
                | RejectionKind::LimiterUnavailable
        );
        assert_eq!(answer.rejection().key().is_some(), key_is_known, "{kind:?}");
        assert_eq!(answer.rejection().to_string(), format!("denied: {}", kind.code()));
        let caused = std::error::Error::source(answer.rejection()).is_some();
        assert_eq!(caused, kind.status() == 503, "{kind:?}");
    }
}

/// Status, headers and body, to compare.
fn bytes_of(response: &Response<Bytes>) -> String {
    let mut headers: Vec<_> = response.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    format!("{} {headers:?} {:?}", response.status(), response.body())
}

#[tokio::test]
async fn uniform_denials_cannot_be_told_apart() {
    let mut seen = HashSet::new();
    for (kind, layer, request) in denied() {
        let answer = send_waiting(&layer.with_uniform_denials(), request).await;
        assert_eq!(answer.rejection().kind(), kind, "the service itself knows");
        let is_folded = kind == RejectionKind::AddressNotAllowed;
        let expected = if is_folded || row(kind).3 == Some("invalid_token") {
            seen.insert(bytes_of(&answer.response));
            "invalid_key"
        } else {
            row(kind).2
        };
        assert_eq!(code(&answer.response), expected);
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[test]
fn a_layer_without_sources_challenges_all_the_same() {
    let layer = ApiKeyLayer::new(TestStore::new([])).with_sources([]).with_realm("shop");
    let response = send(&layer, with_key(KEY)).response;
    assert_eq!(header_values(&response, header::WWW_AUTHENTICATE), [r#"ApiKey realm="shop""#]);
}

#[test]
fn waits_are_rounded_up_to_whole_seconds() {
    let after = |wait| {
        Rejection::new(RejectionKind::RateLimited).with_retry_after(wait).retry_after_seconds()
    };
    assert_eq!(after(Duration::ZERO), Some(1));
    assert_eq!(after(Duration::from_nanos(1)), Some(1));
    assert_eq!(after(Duration::from_secs(1)), Some(1));
    assert_eq!(after(Duration::from_millis(1001)), Some(2));
    assert_eq!(Rejection::new(RejectionKind::RateLimited).retry_after_seconds(), None);
    let key = record(KEY).id;
    assert_eq!(Rejection::from(RejectionKind::Unknown).with_key(key).key(), Some(key));
}
