//! Answers: identities and denials.

use std::sync::{Arc, Mutex};

use tower_api_key::{
    ConfigError, KeySource, RateLimits, Rejection,
    identity::IdentityHeaders,
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
    scope::ScopeRule,
    store::StoreErrorKind,
};

use super::*;
use crate::{
    forward_auth::proxies,
    stores::TestStore,
    support::{OTHER_KEY, clock, record_with},
};

#[test]
fn a_request_that_is_let_in_goes_on_with_its_identity() {
    for form in FORMS {
        // Whatever a client says is written over.
        let forged = [good(), ("x-api-key-id", "forged"), ("x-api-key-owner", "forged")];
        let answer = ask(&service(layer()), &question(form, "GET", "/orders/7", &forged));
        assert_eq!(answer.values("x-api-key-id")[0].len(), 36);
        assert_eq!(answer.values("x-api-key-owner"), ["Zo%C3%AB"]);
        assert_eq!(answer.values("x-api-key-scopes"), ["orders:read"]);
        assert_eq!((answer.headers.len(), answer.removed.len()), (3, 0), "{answer:?}");
    }
}

#[test]
fn a_key_without_owner_and_scopes_has_empty_headers() {
    let record = record_with(KEY, |_| {});
    let id = record.id.to_string();
    let names = IdentityHeaders::new().with_id_name("x-caller").unwrap();
    let layer = ApiKeyLayer::new(TestStore::new([record]));
    let service =
        with_rules(ExtAuthz::builder(layer)).with_identity_headers(names).build().unwrap();
    let answer = ask(&service, &question(Form::Raw, "GET", "/profile", &[good()]));
    let expected = [("x-caller", &*id), ("x-api-key-owner", ""), ("x-api-key-scopes", "")];
    assert_eq!(answer.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn each_denial_has_its_response() {
    let limiter = LocalLimiter::builder().with_clock(clock()).build();
    let record = record_with(KEY, |record| {
        let limit = Limit::new("test", Quota::per_minute(nonzero!(1))).unwrap();
        record.details.limits = Limits::new([limit]).unwrap();
    });
    let limited = ApiKeyLayer::new(TestStore::new([record]))
        .with_clock(clock())
        .with_rate_limits(RateLimits::new(limiter));
    let limited = service(limited);
    let asked = |form, sent: &[_]| question(form, "PATCH", "/profile", sent);
    assert_eq!(ask(&limited, &asked(Form::Raw, &[good()])).status, 200);
    let failing = service(ApiKeyLayer::new(TestStore::failing(StoreErrorKind::Unavailable)));
    let usual = service(layer());
    for form in FORMS {
        for (service, sent, status, code, challenges, waits) in [
            (&usual, &[][..], 401, "missing_key", 2, false),
            (&usual, &[("x-api-key", OTHER_KEY)], 401, "unknown_key", 2, false),
            (&usual, &[good(), ("authorization", "Bearer abc")], 400, "ambiguous_key", 2, false),
            (&limited, &[good()], 429, "rate_limited", 0, true),
            (&failing, &[good()], 503, "store_unavailable", 0, true),
        ] {
            let answer = ask(service, &asked(form, sent));
            assert_eq!((answer.status, &*answer.code()), (status, code));
            assert_eq!(answer.values("www-authenticate").len(), challenges, "{answer:?}");
            assert_eq!(answer.values("retry-after").len(), usize::from(waits), "{answer:?}");
            assert!(answer.values("content-length").is_empty());
            assert!(answer.values("x-api-key-id").is_empty(), "nothing for the client");
        }
        let answer = ask(&usual, &question(form, "POST", "/orders", &[good()]));
        assert_eq!((answer.status, &*answer.code()), (403, "insufficient_scope"));
    }
}

#[test]
fn two_keys_in_one_header_are_not_the_first() {
    let service = service(layer());
    for (form, status, code) in
        [(Form::Joined, 401, "unknown_key"), (Form::Raw, 400, "ambiguous_key")]
    {
        for second in [OTHER_KEY, KEY] {
            let sent = [good(), ("x-api-key", second)];
            let answer = ask(&service, &question(form, "GET", "/orders/7", &sent));
            assert_eq!((answer.status, &*answer.code()), (status, code));
        }
    }
}

#[test]
fn nothing_turns_a_denial_into_a_success() {
    for status in [200, 204, 301, 101] {
        let hook = move |_: &Rejection, mut prepared: Response<Bytes>| {
            *prepared.status_mut() = http::StatusCode::from_u16(status).unwrap();
            prepared
        };
        let service = service(layer().with_rejection_response(hook));
        let answer = ask(&service, &question(Form::Raw, "GET", "/orders/7", &[]));
        assert_eq!(answer.status, 403);
    }
    // Never in the form of gRPC, nor let in as a preflight.
    let service = service(layer().with_grpc_web_denials());
    for form in FORMS {
        for content_type in ["application/grpc", "application/grpc-web+proto"] {
            let sent = [("content-type", content_type), ("te", "trailers")];
            let answer = ask(&service, &question(form, "POST", "/profile", &sent));
            assert_eq!((answer.status, &*answer.code()), (401, "missing_key"));
            assert!(answer.values("grpc-status").is_empty());
        }
        let sent = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
        let answer = ask(&service, &question(form, "OPTIONS", "/profile", &sent));
        assert_eq!(answer.status, 401);
    }
}

#[test]
fn a_hooks_response_is_a_text() {
    let hook = |_: &Rejection, prepared: Response<Bytes>| {
        let mut response = prepared.map(|_| Bytes::from_static(b"no \xff entry"));
        let value = http::HeaderValue::from_bytes(b"\xe9").unwrap();
        response.headers_mut().insert("x-why", value);
        response
    };
    let service = service(layer().with_rejection_response(hook));
    let answer = ask(&service, &question(Form::Raw, "GET", "/orders/7", &[]));
    assert_eq!((answer.status, &*answer.body), (401, "no \u{fffd} entry"));
    assert_eq!(answer.values("x-why"), ["\u{fffd}"]);
}

/// The method, target, scheme, host and address are the original ones, also to hooks.
#[test]
fn the_layer_judges_the_original_request() {
    let seen = Arc::new(Mutex::new(String::new()));
    let networks = record_with(KEY, |record| {
        record.details.allowed_addresses = ["192.0.2.0/24".parse().unwrap()].into();
    });
    let layer = ApiKeyLayer::new(TestStore::new([networks]))
        .with_sources([KeySource::x_api_key(), KeySource::cookie("key").unwrap()])
        .with_secure_transport_check({
            let seen = seen.clone();
            move |request| {
                *seen.lock().unwrap() = format!("{} {}", request.method, request.uri);
                request.uri.scheme_str() == Some("https")
            }
        });
    let service = service(layer);
    for form in FORMS {
        let mut asked = question(form, "HEAD", "/orders/7?a=b", &[good()]);
        // It needs no scope of this key.
        http(&mut asked).path = "/profile?a=b".into();
        match &mut http(&mut asked).header_map {
            Some(map) => map.headers.retain(|header| header.key != ":path"),
            None => drop(http(&mut asked).headers.remove(":path")),
        }
        assert_eq!(ask(&service, &asked).code(), "");
        assert_eq!(*seen.lock().unwrap(), "GET https://api.example/profile?a=b");

        asked.attributes.as_mut().unwrap().source = None;
        assert_eq!(ask(&service, &asked).code(), "address_not_allowed");

        let cookie = format!("key={KEY}");
        for (origin, expected) in
            [("https://api.example", ""), ("https://auth.internal", "cross_site_request")]
        {
            let sent = [("cookie", &*cookie), ("origin", origin)];
            let asked = question(form, "POST", "/profile", &sent);
            assert_eq!(ask(&service, &asked).code(), expected);
            let socket = [&sent[..], &[("upgrade", "websocket")]].concat();
            let asked = question(form, "GET", "/profile", &socket);
            assert_eq!(ask(&service, &asked).code(), expected);
        }
    }
}

#[test]
fn a_service_that_would_let_in_too_many_or_none_is_an_error() {
    for layer in [layer().with_bypass(|_| false), layer().allow_anonymous()] {
        let error = with_rules(ExtAuthz::builder(layer)).build().unwrap_err();
        assert!(matches!(error, ConfigError::Contradiction { .. }), "{error}");
    }
    let no_peer = with_rules(ExtAuthz::builder(layer())).trusting_peers([], |_| None).build();
    assert_eq!(no_peer.unwrap_err(), ConfigError::NoTrustedNetwork);
    let no_rule = ExtAuthz::builder(layer()).trusting_peers(proxies(), |_| None).build();
    assert_eq!(no_rule.unwrap_err(), ConfigError::NoForwardAuthRule);
    let rule = ExtAuthz::builder(layer()).rule_for_all_methods("orders", ScopeRule::all([]));
    assert!(matches!(rule.unwrap_err(), ConfigError::ForwardAuthRule { .. }));
}
