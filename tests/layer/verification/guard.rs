//! The programs that may ask, and over which connections.

use std::{collections::HashSet, net::IpAddr};

use axum::{Router, body::Body};
use http::{Request, header};
use serde_json::json;
use tower_api_key::{
    ApiKeyLayer, KeySource, Scopes,
    axum::{VerificationGuard, verification_router},
};

use super::{LOCAL, from, local, question, send};
use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, code, record, record_with},
};

const PROGRAM: &str = "key-of-a-program-0123456789abcdef";

fn judged() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
}

/// A layer that knows [`PROGRAM`], with these scopes, and tells addresses.
fn programs(scopes: &[&str]) -> ApiKeyLayer {
    let scopes = Scopes::parse(scopes).unwrap();
    let program = record_with(PROGRAM, |record| record.scopes = scopes);
    ApiKeyLayer::new(TestStore::waiting([program]))
        .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
}

fn app(guard: VerificationGuard) -> Router {
    verification_router(judged(), guard).unwrap()
}

fn by(program: &str) -> Request<Body> {
    let mut request = question(json!({ "key": KEY }).to_string());
    request.headers_mut().insert("x-api-key", program.parse().unwrap());
    request
}

/// The status, and the code of a denial.
async fn outcome(app: &Router, request: Request<Body>) -> (u16, String) {
    let response = send(app, request).await;
    let status = response.status().as_u16();
    (status, if status == 200 { String::new() } else { code(&response) })
}

fn denied(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_program_needs_a_key_with_the_scope() {
    for (scopes, expected) in [
        (&["keys:verify"][..], (200, String::new())),
        (&["keys:*"], (200, String::new())),
        (&["keys:read", "keys:write"], denied(403, "insufficient_scope")),
        (&[], denied(403, "insufficient_scope")),
    ] {
        let app = app(VerificationGuard::keys(programs(scopes)));
        assert_eq!(outcome(&app, by(PROGRAM)).await, expected, "{scopes:?}");
        assert_eq!(outcome(&app, by(OTHER_KEY)).await, denied(401, "unknown_key"));
        // The key that is asked about opens nothing.
        assert_eq!(outcome(&app, by(KEY)).await, denied(401, "unknown_key"));
        let without = question(json!({ "key": PROGRAM }).to_string());
        let response = send(&app, without).await;
        assert_eq!((response.status().as_u16(), &*code(&response)), (401, "missing_key"));
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}

/// Of parameters, only those in which its key may be are known.
#[tokio::test]
async fn a_program_s_key_may_be_in_the_query() {
    let programs = programs(&["keys:verify"]).with_source(KeySource::query("program").unwrap());
    let app = app(VerificationGuard::keys(programs));
    for (query, expected) in [
        (format!("program={PROGRAM}"), (200, String::new())),
        (format!("program={PROGRAM}&other=1"), denied(400, "invalid_parameter")),
    ] {
        let mut request = question(json!({ "key": KEY }).to_string());
        *request.uri_mut() = format!("/?{query}").parse().unwrap();
        assert_eq!(outcome(&app, request).await, expected);
    }
}

/// Layers that let requests in without a key do not open the route, nor does an identity from outside.
#[tokio::test]
async fn a_lenient_layer_lets_no_program_in() {
    let missing = denied(401, "missing_key");
    for lenient in [programs(&["*"]).allow_anonymous(), programs(&["*"]).with_bypass(|_| true)] {
        let app = app(VerificationGuard::keys(lenient.clone()));
        let nobodys = || question(json!({ "key": KEY }).to_string());
        assert_eq!(outcome(&app, nobodys()).await, missing);
        let other = lenient.with_sources([KeySource::header("x-other").unwrap()]);
        let inside: Router = Router::new()
            .nest("/verify", self::app(VerificationGuard::keys(other)))
            .layer(programs(&["*"]));
        let mut request = by(PROGRAM);
        *request.uri_mut() = "/verify".parse().unwrap();
        assert_eq!(outcome(&inside, request).await, missing);
    }
}

/// The keys of others go over TLS or a private network.
#[tokio::test]
async fn a_connection_in_the_clear_is_private() {
    let guard = || VerificationGuard::keys(programs(&["keys:verify"]));
    let insecure = denied(403, "insecure_transport");
    for private in [
        LOCAL,
        "127.9.9.9",
        "::1",
        "::ffff:10.1.2.3",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.7.7",
        "fd00::1",
        "fc00::1",
    ] {
        assert_eq!(outcome(&app(guard()), from(private, by(PROGRAM))).await.0, 200, "{private}");
    }
    for public in [
        "192.0.2.1",
        "172.32.0.1",
        "100.64.0.1",
        "169.254.1.1",
        "0.0.0.0",
        "2001:db8::1",
        "fe80::1",
        "::ffff:192.0.2.1",
        "::",
    ] {
        assert_eq!(outcome(&app(guard()), from(public, by(PROGRAM))).await, insecure, "{public}");
    }
    // An address that is not known is not private.
    let mut unknown = by(PROGRAM);
    unknown.extensions_mut().clear();
    assert_eq!(outcome(&app(guard()), unknown).await, insecure);
    let untold = ApiKeyLayer::new(TestStore::new([record_with(PROGRAM, |record| {
        record.scopes = Scopes::parse(["keys:verify"]).unwrap();
    })]));
    let untold = || VerificationGuard::keys(untold.clone());
    assert_eq!(outcome(&app(untold()), by(PROGRAM)).await, insecure);

    // A client writes the scheme of a URI.
    let mut absolute = from("192.0.2.1", by(PROGRAM));
    *absolute.uri_mut() = "https://keys.example/".parse().unwrap();
    assert_eq!(outcome(&app(untold()), absolute).await, insecure);

    // As the layer tells, where it does: then in the clear is refused from private addresses, too.
    let told = programs(&["keys:verify"]).with_secure_transport_check(|request| {
        request.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
    });
    let told = app(VerificationGuard::keys(told));
    let mut secure = from("192.0.2.1", by(PROGRAM));
    assert_eq!(outcome(&told, by(PROGRAM)).await, insecure);
    secure.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
    assert_eq!(outcome(&told, secure).await.0, 200);
}

#[tokio::test]
async fn without_a_key_a_program_is_on_this_machine() {
    let app = app(local());
    let elsewhere = denied(403, "address_not_allowed");
    let ask = || question(json!({ "key": KEY }).to_string());
    for here in [LOCAL, "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(outcome(&app, from(here, ask())).await.0, 200, "{here}");
    }
    for there in ["10.0.0.1", "192.168.1.1", "192.0.2.1", "fd00::1", "0.0.0.0", "::"] {
        assert_eq!(outcome(&app, from(there, ask())).await, elsewhere, "{there}");
    }
    let mut unknown = ask();
    unknown.extensions_mut().clear();
    assert_eq!(outcome(&app, unknown).await, elsewhere);
    // TLS does not make it this machine.
    let mut over_tls = from("192.0.2.1", ask());
    *over_tls.uri_mut() = "https://keys.example/".parse().unwrap();
    assert_eq!(outcome(&app, over_tls).await, elsewhere);

    let with = |name: &'static str, value: &str| {
        let mut request = ask();
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for name in [
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x_forwarded_proto",
        "x-forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-original-forwarded-for",
        "x-envoy-external-address",
        "cf-connecting-ip",
        "true-client-ip",
    ] {
        assert_eq!(outcome(&app, with(name, "")).await, elsewhere, "{name}");
    }
    for host in ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "127.1.2.3", "[::1]:80"] {
        assert_eq!(outcome(&app, with("host", host)).await.0, 200, "{host}");
    }
    for host in ["keys.example", "127.0.0.1.keys.example", "10.0.0.1:80", "", "localhost, a"] {
        assert_eq!(outcome(&app, with("host", host)).await, elsewhere, "{host}");
    }
    let mut without = ask();
    without.headers_mut().remove("host");
    assert_eq!(outcome(&app, without).await, elsewhere);
    let cross_site = denied(403, "cross_site_request");
    for (name, value) in [
        ("origin", "null"),
        ("origin", "http://127.0.0.1:3000"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        assert_eq!(outcome(&app, with(name, value)).await, cross_site, "{name}: {value}");
    }
}

/// Whatever a stranger asks, the answer is the same, byte for byte.
#[tokio::test]
async fn strangers_learn_nothing_of_the_route() {
    for (guard, peer) in [
        (VerificationGuard::keys(programs(&["keys:verify"])), LOCAL),
        (VerificationGuard::keys(programs(&["keys:verify"])), "192.0.2.1"),
        (local(), "192.0.2.1"),
    ] {
        let app = app(guard);
        let mut answers = HashSet::new();
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            for path in ["/", "/other", "/?key=x"] {
                for body in ["", "{", r#"{"key":"x","other":1}"#] {
                    let request = Request::builder().method(method).uri(path);
                    let request = from(peer, request.body(Body::from(body)).unwrap());
                    let response = send(&app, request).await;
                    assert!(!response.headers().contains_key(header::ALLOW), "{method} {path}");
                    answers.insert(format!("{:?} {:?}", response.headers(), response.body()));
                }
            }
        }
        assert_eq!(answers.len(), 1, "{answers:#?}");
    }
}
