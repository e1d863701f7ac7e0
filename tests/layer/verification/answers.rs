//! Each reason to refuse a key has its code, and every answer the same form.

use std::{collections::BTreeSet, net::IpAddr};

use axum::Router;
use serde_json::json;
use tower_api_key::{
    ApiKeyLayer, Credits, KeyHasher, OwnerId, RateLimits, RejectionKind, Scopes, Timestamp,
    auth::{FailureThrottle, WaitingLimit},
    key::KeyRecord,
    limit::{LocalLimiter, Quota},
    nonzero,
    store::{KeyRepository, MemoryStore, StoreErrorKind},
};

use super::{ask, outcome, question, send, unguarded};
use crate::{
    limits::limits,
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, code, header_values, record_with},
};

fn stored(change: impl FnOnce(&mut KeyRecord)) -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::waiting([record_with(KEY, change)])).with_clock(clock())
}

fn app(change: impl FnOnce(&mut KeyRecord)) -> Router {
    unguarded(stored(change))
}

#[tokio::test]
async fn of_a_good_key_the_identity_is_told() {
    let mut id = None;
    let full = app(|record| {
        record.owner = Some(OwnerId::new("Zoë"));
        record.scopes = Scopes::parse(["orders:*", "a"]).unwrap();
        record.expires_at = Some(at(5_000));
        id = Some(record.id.to_string());
    });
    let answer = ask(&full, &json!({ "key": KEY, "scopes": ["orders:read", "a"] })).await;
    let end: Timestamp = at(5_000);
    let expected = json!({
        "valid": true,
        "code": null,
        "key_id": id,
        "owner": "Zoë",
        "scopes": ["a", "orders:*"],
        "expires_at": end.to_string(),
        "retry_after": null,
    });
    assert_eq!(answer, expected);

    let bare = ask(&app(|_| {}), &json!({ "key": KEY })).await;
    assert_eq!((&bare["owner"], &bare["scopes"]), (&json!(null), &json!([])));
    assert!(bare["expires_at"].is_null());

    // The grace of a key that was replaced ends before the key would.
    let replaced = app(|record| {
        record.expires_at = Some(at(5_000));
        record.details.rotation.retires_at = Some(at(4_000));
    });
    let answer = ask(&replaced, &json!({ "key": KEY })).await;
    assert_eq!(answer["expires_at"], at(4_000).to_string());
}

/// All codes that an answer can have, and no others.
#[tokio::test]
async fn every_reason_has_its_code() {
    let quota = Quota::per_hour(nonzero!(1));
    let rates = || RateLimits::new(LocalLimiter::new());
    let limited = stored(|record| record.details.limits = limits(quota)).with_rate_limits(rates());
    let credits = Credits::new(MemoryStore::new()).unwrap();
    let spent = stored(|record| record.details.credits = Some(1)).with_credits(credits);
    let throttle = FailureThrottle::builder(quota).with_clock(clock()).build();
    let throttled = stored(|_| {}).with_client_address(|_| None::<IpAddr>);
    let throttled = unguarded(throttled.with_failure_throttle(throttle).unwrap());
    let guess = json!({ "key": OTHER_KEY, "address": "192.0.2.1" });
    assert_eq!(outcome(&throttled, guess.clone()).await, "unknown_key");
    let limited = unguarded(limited);
    let use_up = json!({ "key": KEY, "spend": true });
    assert_eq!(outcome(&limited, use_up.clone()).await, "good");

    let elsewhere = || {
        app(|record| record.details.allowed_addresses = ["192.0.2.0/24".parse().unwrap()].into())
    };
    let of = |key: &str| json!({ "key": key });
    let cases = [
        (app(|_| {}), of("short"), "malformed_key"),
        (app(|_| {}), of(""), "malformed_key"),
        (app(|_| {}), of("a key with spaces in its middle"), "malformed_key"),
        (app(|_| {}), of("ключ-которого-здесь-не-бывает"), "malformed_key"),
        (app(|_| {}), of("a-key\r\nx-other: 0123456789abcdef"), "malformed_key"),
        (app(|_| {}), of("a-key\u{0}0123456789abcdef"), "malformed_key"),
        (app(|_| {}), of(&"k".repeat(513)), "malformed_key"),
        (app(|_| {}), of(OTHER_KEY), "unknown_key"),
        (app(|record| record.details.deleted_at = Some(at(0))), of(KEY), "unknown_key"),
        (app(|record| record.details.revoked_at = Some(at(0))), of(KEY), "revoked_key"),
        (app(|record| record.disabled = true), of(KEY), "disabled_key"),
        (app(|record| record.details.not_before = Some(at(1))), of(KEY), "not_yet_valid_key"),
        (app(|record| record.expires_at = Some(at(0))), of(KEY), "expired_key"),
        (elsewhere(), of(KEY), "address_not_allowed"),
        (elsewhere(), json!({ "key": KEY, "address": null }), "address_not_allowed"),
        (elsewhere(), json!({ "key": KEY, "address": "198.51.100.1" }), "address_not_allowed"),
        (elsewhere(), json!({ "key": KEY, "address": "192.0.2.9" }), "good"),
        (elsewhere(), json!({ "key": KEY, "address": "::ffff:192.0.2.9" }), "good"),
        (app(|_| {}), json!({ "key": KEY, "scopes": ["a"] }), "insufficient_scope"),
        (app(|_| {}), json!({ "key": KEY, "scopes": [] }), "good"),
        (app(|_| {}), json!({ "key": format!(" {KEY}\t") }), "good"),
        (limited, use_up.clone(), "rate_limited"),
        (unguarded(spent), use_up, "credits_exhausted"),
        (throttled, guess, "too_many_failures"),
    ];
    let mut codes = BTreeSet::new();
    for (app, body, expected) in cases {
        assert_eq!(outcome(&app, body.clone()).await, expected, "{body}");
        codes.insert(expected);
    }
    codes.remove("good");
    // What is about a request, which is not here; about owners, which no layer resolves; and 503.
    let others = [
        "missing_key",
        "ambiguous_key",
        "inactive_owner",
        "insecure_transport",
        "cross_site_request",
        "forward_auth_refused",
        "store_unavailable",
        "lookup_overloaded",
        "limiter_unavailable",
    ];
    assert!(codes.is_disjoint(&others.into()));
    codes.extend(others);
    let all: BTreeSet<_> = RejectionKind::all().map(RejectionKind::code).collect();
    assert_eq!(codes, all);
}

#[tokio::test]
async fn a_wait_is_told_in_seconds() {
    let quota = Quota::per_hour(nonzero!(1));
    let rates = RateLimits::new(LocalLimiter::new());
    let layer = stored(|record| record.details.limits = limits(quota)).with_rate_limits(rates);
    let app = unguarded(layer);
    let body = json!({ "key": KEY, "spend": true });
    assert!(ask(&app, &body).await["retry_after"].is_null());
    let seconds = ask(&app, &body).await["retry_after"].as_u64().unwrap();
    assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    // Credits that do not come back have no wait.
    let credits = Credits::new(MemoryStore::new()).unwrap();
    let spent = stored(|record| record.details.credits = Some(1)).with_credits(credits);
    let answer = ask(&unguarded(spent), &body).await;
    assert_eq!(
        (&answer["code"], &answer["retry_after"]),
        (&"credits_exhausted".into(), &json!(null))
    );
}

/// Bad keys of all kinds have one answer, byte for byte.
#[tokio::test]
async fn uniform_denials_stay_uniform() {
    let mut answers = BTreeSet::new();
    let changes: [fn(&mut KeyRecord); 5] = [
        |_| {},
        |record| record.disabled = true,
        |record| record.details.revoked_at = Some(at(0)),
        |record| record.expires_at = Some(at(0)),
        |record| record.details.allowed_addresses = ["192.0.2.1/32".parse().unwrap()].into(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let app = unguarded(stored(change).with_uniform_denials());
        let key = if index == 0 { OTHER_KEY } else { KEY };
        answers.insert(ask(&app, &json!({ "key": key })).await.to_string());
        answers.insert(ask(&app, &json!({ "key": "short" })).await.to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers.first().unwrap().contains(r#""code":"invalid_key""#));
    // A good key that lacks a scope is told apart, as by the layer.
    let app = unguarded(stored(|_| {}).with_uniform_denials());
    let body = json!({ "key": KEY, "scopes": ["a"] });
    assert_eq!(outcome(&app, body).await, "insufficient_scope");
}

/// What is not known is never a no.
#[tokio::test(start_paused = true)]
async fn where_it_cannot_be_told_it_is_503() {
    let failing = |kind| ApiKeyLayer::new(TestStore::failing(kind));
    let no_room = WaitingLimit::builder().with_max_bytes(1).build();
    let cases = [
        (failing(StoreErrorKind::Unavailable), "store_unavailable"),
        (failing(StoreErrorKind::Overloaded), "lookup_overloaded"),
        (stored(|_| {}).with_waiting_limit(no_room), "lookup_overloaded"),
        (ApiKeyLayer::new(TestStore::stuck()), "store_unavailable"),
        // With limits that this layer does not enforce.
        (
            stored(|record| record.details.limits = limits(Quota::per_hour(nonzero!(1)))),
            "store_unavailable",
        ),
        (stored(|record| record.details.credits = Some(1)), "store_unavailable"),
    ];
    for (layer, expected) in cases {
        for layer in [layer.clone(), layer.with_uniform_denials()] {
            for spend in [false, true] {
                let body = json!({ "key": KEY, "spend": spend }).to_string();
                let response = send(&unguarded(layer.clone()), question(body)).await;
                assert_eq!((response.status().as_u16(), &*code(&response)), (503, expected));
                let retry = header_values(&response, http::header::RETRY_AFTER);
                let seconds: u64 = retry[0].parse().unwrap();
                assert!(retry.len() == 1 && (1..=8).contains(&seconds), "{retry:?}");
            }
        }
    }
    let passed_over = stored(|record| record.details.credits = Some(1)).ignoring_credits();
    assert_eq!(outcome(&unguarded(passed_over), json!({ "key": KEY })).await, "good");
}

/// The settings of the layer that are about requests have no part in it.
#[tokio::test]
async fn a_request_that_is_not_here_is_not_judged() {
    let layer = stored(|_| {})
        .require_secure_transport()
        .hide_credentials()
        .with_access_records()
        .with_grpc_web_denials()
        .with_client_address(|_| -> Option<IpAddr> { panic!("the address is the stated one") })
        .with_rejection_response(|_: &_, _| panic!("no denial is sent"));
    let app = unguarded(layer);
    assert_eq!(outcome(&app, json!({ "key": KEY })).await, "good");
    assert_eq!(outcome(&app, json!({ "key": OTHER_KEY })).await, "unknown_key");
}

#[tokio::test]
async fn retired_peppers_are_tried_as_well() {
    let old = || tower_api_key::Peppers::new(b"the old pepper of the tests, 32 bytes").unwrap();
    let both = tower_api_key::Peppers::new(b"the new pepper of the tests, 32 bytes").unwrap();
    let both = both.with_retired(b"the old pepper of the tests, 32 bytes").unwrap();
    let store = MemoryStore::new();
    let record = crate::support::record_hashed(&KeyHasher::hmac_sha256(old()), KEY);
    store.insert(&record).await.unwrap();
    let app = unguarded(ApiKeyLayer::new(store).with_hasher(KeyHasher::hmac_sha256(both)));
    assert_eq!(outcome(&app, json!({ "key": KEY })).await, "good");
}
