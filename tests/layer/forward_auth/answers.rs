//! Answers: identities, denials, and their form for each proxy.

use std::sync::{Arc, Mutex};

use tower_api_key::{
    ConfigError, KeySource, RateLimits, Rejection, RejectionKind,
    identity::IdentityHeaders,
    limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
    nonzero,
    store::StoreErrorKind,
};

use super::*;
use crate::support::{OTHER_KEY, code, problem, respond_now};

/// The code of a denial; empty for a request that is let in.
fn outcome(response: &Response<Bytes>) -> String {
    if response.status() == 200 { String::new() } else { code(response) }
}

#[test]
fn a_request_that_is_let_in_is_answered_with_its_identity() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        let response = ask(&service, about(family, "GET", "/orders/7", &[good()]));
        assert_eq!((response.status().as_u16(), real_status(&response)), (200, 200));
        assert_eq!(response.headers()["x-api-key-id"].len(), 36);
        assert_eq!(response.headers()["x-api-key-owner"], "Zo%C3%AB");
        assert_eq!(response.headers()["x-api-key-scopes"], "orders:read");
        assert!(response.body().is_empty());
    }
}

/// Hooks of layers read the original request, by whichever headers the proxy tells of it.
#[test]
fn a_hook_sees_the_original_scheme() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let limit = Limit::new("test", Quota::per_minute(nonzero!(100))).unwrap();
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock()).build())
        .with_tiers(Tiers::new().with_default(Limits::new([limit]).unwrap()))
        .with_cost(move |request| {
            note.lock().unwrap().push(request.headers["x-forwarded-proto"].clone());
            1
        });
    for (flavour, family) in FLAVOURS {
        for scheme in ["https", "http"] {
            let values = ["GET", scheme, "api.example", "/orders/7"];
            let headers: Vec<_> = family.into_iter().zip(values).chain([good()]).collect();
            let service = service(flavour, layer().with_rate_limits(rate.clone()));
            ask(&service, from(PROXY, request(&headers)));
            assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [scheme]);
        }
    }
}

#[test]
fn a_key_without_owner_and_scopes_has_empty_headers() {
    let record = record_with(KEY, |_| {});
    let id = record.id.to_string();
    let names = IdentityHeaders::new().with_id_name("x-caller").unwrap();
    let layer = ApiKeyLayer::new(TestStore::new([record]));
    let service =
        with_rules(ForwardAuth::caddy(layer)).with_identity_headers(names).build().unwrap();
    let request = about(FORWARDED, "GET", "/profile", &[good()]);
    let response = respond_now(service, request);
    assert_eq!(response.headers()["x-caller"], id);
    assert_eq!(response.headers()["x-api-key-owner"], "");
    assert_eq!(response.headers()["x-api-key-scopes"], "");
    assert!(!response.headers().contains_key("x-api-key-id"));
}

/// What a client sends, how it is denied, and what nginx is answered.
#[test]
fn each_proxy_is_answered_so_that_its_client_sees_the_denial() {
    let limiter = LocalLimiter::builder().with_clock(clock()).build();
    let record = record_with(KEY, |record| {
        let limit = Limit::new("test", Quota::per_minute(nonzero!(1))).unwrap();
        record.details.limits = Limits::new([limit]).unwrap();
        record.scopes = Scopes::parse(["orders:read"]).unwrap();
    });
    let limited = ApiKeyLayer::new(TestStore::new([record]))
        .with_clock(clock())
        .with_rate_limits(RateLimits::new(limiter));
    let failing = ApiKeyLayer::new(TestStore::failing(StoreErrorKind::Unavailable));
    for (flavour, family) in FLAVOURS {
        let is_nginx = std::ptr::fn_addr_eq(flavour, ForwardAuth::nginx as Flavour);
        let limited = service(flavour, limited.clone());
        // The first flavour uses the limit up for all.
        ask(&limited, about(family, "GET", "/orders/7", &[good()]));
        let twice = [good(), ("authorization", "Bearer other-key-0123456789")];
        for (service, sent, method, target, status, expected) in [
            (&service(flavour, layer()), &[][..], "GET", "/orders/7", 401, "missing_key"),
            (
                &service(flavour, layer()),
                &[("x-api-key", OTHER_KEY)],
                "GET",
                "/orders/7",
                401,
                "unknown_key",
            ),
            (&service(flavour, layer()), &twice, "GET", "/orders/7", 400, "ambiguous_key"),
            (&service(flavour, layer()), &[good()], "POST", "/orders", 403, "insufficient_scope"),
            (&service(flavour, layer()), &[good()], "GET", "/other", 403, "forward_auth_refused"),
            (&limited, &[good()], "GET", "/orders/7", 429, "rate_limited"),
            (
                &service(flavour, failing.clone()),
                &[good()],
                "GET",
                "/orders/7",
                503,
                "store_unavailable",
            ),
        ] {
            let response = ask(service, about(family, method, target, sent));
            assert_eq!(outcome(&response), expected);
            assert_eq!(real_status(&response), status, "{expected}");
            let answered = match status {
                401 => 401,
                _ if is_nginx => 403,
                _ => status,
            };
            assert_eq!(response.status(), answered, "{expected}");
            assert_eq!(
                response.headers().contains_key("www-authenticate"),
                [400, 401].contains(&status) || expected == "insufficient_scope"
            );
            assert_eq!(
                response.headers().contains_key("retry-after"),
                [429, 503].contains(&status)
            );
            let told = response.headers().get("x-api-key-problem");
            assert_eq!(
                told.map(http::HeaderValue::as_bytes),
                is_nginx.then_some(&response.body()[..])
            );
            assert_eq!(response.headers()["x-api-key-id"], "");
        }
    }
}

/// One that is too long, or not a problem, would be lost or break the header.
#[test]
fn a_body_that_fits_into_no_header_is_not_told_in_one() {
    for body in ["x".repeat(3_000), "é".into(), "a\nb".into()] {
        let layer =
            layer().with_rejection_response(move |_: &Rejection, prepared: Response<Bytes>| {
                prepared.map(|_| body.clone().into())
            });
        let service = service(ForwardAuth::nginx, layer);
        let response = ask(&service, about(ORIGINAL, "GET", "/orders/7", &[]));
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["x-api-key-problem"], "");
    }
}

#[test]
fn nothing_turns_a_denial_into_a_success() {
    for (flavour, family) in FLAVOURS {
        for status in [200, 204, 301, 101] {
            let hook = move |_: &Rejection, mut prepared: Response<Bytes>| {
                *prepared.status_mut() = http::StatusCode::from_u16(status).unwrap();
                prepared
            };
            let service = service(flavour, layer().with_rejection_response(hook));
            let response = ask(&service, about(family, "GET", "/orders/7", &[]));
            assert_eq!((response.status().as_u16(), real_status(&response)), (403, 403));
        }
        let service = service(flavour, layer().with_grpc_web_denials());
        for (content_type, version) in [
            ("application/grpc", http::Version::HTTP_2),
            ("application/grpc", http::Version::HTTP_11),
            ("application/grpc-web+proto", http::Version::HTTP_11),
        ] {
            let sent = [("content-type", content_type), ("te", "trailers")];
            for target in ["/profile", "/other"] {
                let mut request = about(family, "POST", target, &sent);
                *request.version_mut() = version;
                *request.method_mut() = Method::POST;
                let response = ask(&service, request);
                assert!(matches!(response.status().as_u16(), 401 | 403));
                assert!(!response.headers().contains_key("grpc-status"));
                problem(&response);
            }
        }
        let preflight = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
        let response = ask(&service, about(family, "OPTIONS", "/profile", &preflight));
        assert_eq!(response.status(), 401);
    }
}

/// The method, target, scheme and host are the original ones, also to hooks.
#[test]
fn the_layer_judges_the_original_request() {
    for (flavour, family) in FLAVOURS {
        let seen = Arc::new(Mutex::new(String::new()));
        let layer = layer()
            .with_source(KeySource::query("api_key").unwrap())
            .with_source(KeySource::cookie("key").unwrap())
            .require_secure_transport()
            .with_client_address({
                let seen = seen.clone();
                move |request| {
                    let names = ["referer", "x-original-uri", "x-forwarded-uri", "x-original-url"];
                    assert!(names.iter().all(|name| !request.headers.contains_key(*name)));
                    *seen.lock().unwrap() = format!("{} {}", request.method, request.uri);
                    None
                }
            })
            .with_event_hook(|_| {});
        let service = service(flavour, layer);
        let copies = [("referer", "https://a.example/?api_key=x"), ("x-original-url", "/y")];
        let query = format!("/orders/7?api_key={KEY}");
        assert_eq!(ask(&service, about(family, "HEAD", &query, &copies)).status(), 200);
        let denied = ask(&service, about(family, "HEAD", "/orders/7?a=b", &copies));
        assert_eq!(outcome(&denied), "missing_key");
        assert_eq!(*seen.lock().unwrap(), "GET https://api.example/orders/7?a=b");

        let mut plain = about(family, "GET", "/orders/7", &[good()]);
        plain
            .headers_mut()
            .insert(http::HeaderName::try_from(family[1]).unwrap(), "http".parse().unwrap());
        assert_eq!(outcome(&ask(&service, plain)), "insecure_transport");

        // Of the original host, whatever host the proxy asks at.
        let cookie = format!("key={KEY}");
        for (origin, expected) in
            [("https://api.example", ""), ("https://auth.internal", "cross_site_request")]
        {
            let sent = [("cookie", &*cookie), ("origin", origin), ("host", "auth.internal")];
            let response = ask(&service, about(family, "POST", "/profile", &sent));
            assert_eq!(outcome(&response), expected);
            // A `WebSocket`, of which the proxy does not say `Upgrade`.
            for name in ["sec-websocket-key", "sec-websocket-version"] {
                let socket = [&sent[..], &[(name, "13")]].concat();
                let response = ask(&service, about(family, "GET", "/orders/7", &socket));
                assert_eq!(outcome(&response), expected, "{name}");
            }
            let response = ask(&service, about(family, "GET", "/orders/7", &sent));
            assert_eq!(outcome(&response), "");
        }
    }
}

#[test]
fn a_refusal_is_told_to_the_event_hook() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let layer = layer().with_event_hook({
        let events = events.clone();
        move |event| events.lock().unwrap().push(event.action)
    });
    let service = service(ForwardAuth::traefik, layer);
    ask(&service, from("192.0.2.1", about(FORWARDED, "GET", "/orders/7", &[good()])));
    let denied = tower_api_key::key::KeyAction::Denied(RejectionKind::ForwardAuthRefused);
    assert_eq!(*events.lock().unwrap(), [denied]);
}

#[test]
fn a_service_that_would_let_in_too_many_or_none_is_an_error() {
    for (flavour, _) in FLAVOURS {
        let of_identity = KeySource::header("x-api-key-owner").unwrap();
        let of_identity = layer().with_source(of_identity);
        for layer in [layer().with_bypass(|_| false), layer().allow_anonymous(), of_identity] {
            let error = with_rules(flavour(layer)).build().unwrap_err();
            assert!(matches!(error, ConfigError::Contradiction { .. }), "{error}");
        }
        let no_peer = with_rules(flavour(layer())).trusting_peers([], |_| None).build();
        assert_eq!(no_peer.unwrap_err(), ConfigError::NoTrustedNetwork);
        let no_rule = flavour(layer()).trusting_peers(proxies(), |_| None).build();
        assert_eq!(no_rule.unwrap_err(), ConfigError::NoForwardAuthRule);
        let twice = with_rules(flavour(layer())).rule(Method::POST, "/orders", scope("x"));
        assert!(matches!(twice.unwrap_err(), ConfigError::ForwardAuthRule { .. }));
    }
}
