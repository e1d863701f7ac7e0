//! `ExtAuthz`, asked by grpcio with Envoy's own messages.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::{
    Server,
    server::{TcpConnectInfo, TcpIncoming},
};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, OwnerId, RateLimits, Scopes,
    ext_authz::{DownstreamAddress, ExtAuthz},
    forward_auth::ForwardAuthBuilder,
    key::KeyRecord,
    limit::LocalLimiter,
    scope::ScopeRule,
    store::{KeyDigest, KeyStore, StoreError, StoreErrorKind},
};

use crate::{
    python::run,
    serve::{KEY, OTHER_KEY, clock, limited, record},
    smuggling::{CLOSED, WITHOUT_KEY},
};

/// The store fails when it is asked for this one.
const SILENT_KEY: &str = "silent-key-of-these-tests-0123456789";
/// A hook panics when it sees this host.
const PANICS: &str = "panics.example";

/// Knows two keys, and is down for a third.
struct Keys(Vec<Arc<KeyRecord>>);

#[async_trait]
impl KeyStore for Keys {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if KeyHasher::sha256().digest(SILENT_KEY) == *digest {
            return Err(StoreError::new(StoreErrorKind::Unavailable));
        }
        Ok(self.0.iter().find(|record| record.digest == *digest).cloned())
    }
}

/// Serves with good keys, of which the other one is good for one request an hour, to these peers.
async fn serve(peers: &str) -> SocketAddr {
    let good = record(|record| {
        record.owner = Some(OwnerId::new("Zoë"));
        record.scopes = Scopes::parse(["orders:read"]).unwrap();
        record.details.allowed_addresses = ["192.0.2.0/24".parse().unwrap()].into();
    });
    let other = record(|record| {
        record.digest = KeyHasher::sha256().digest(OTHER_KEY);
        limited(record);
    });
    let layer = ApiKeyLayer::new(Keys(vec![good.into(), other.into()]))
        .with_clock(clock())
        .with_rate_limits(RateLimits::new(LocalLimiter::builder().with_clock(clock()).build()))
        .with_client_address(|request| request.extensions.get().map(DownstreamAddress::ip))
        .with_secure_transport_check(|request| {
            assert_ne!(request.uri.host(), Some(PANICS));
            request.uri.scheme_str() == Some("https")
        })
        .hide_credentials();
    let scope = |scope| ScopeRule::scope(scope).unwrap();
    let service = ExtAuthz::builder(layer)
        .trusting_peers([peers.parse().unwrap()], |request| {
            Some(request.extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip())
        })
        .rule(Method::GET, "/orders/{id}", scope("orders:read"))
        .and_then(|builder| builder.rule(Method::POST, "/orders", scope("orders:write")))
        .and_then(|builder| builder.rule_for_all_methods("/profile", ScopeRule::all([])))
        .and_then(ForwardAuthBuilder::build)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A request that Envoy asks about.
#[derive(Clone, Debug, Serialize)]
struct Asked {
    address: String,
    client: String,
    method: String,
    path: String,
    host: String,
    scheme: &'static str,
    headers: Vec<(String, String)>,
    /// With `encode_raw_headers`.
    raw: bool,
    body: String,
}

impl Asked {
    /// In both forms of headers, with `line` as the method and the target.
    fn both(server: SocketAddr, line: &str, headers: &[(&str, &str)]) -> [Self; 2] {
        let (method, path) = line.split_once(' ').unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let asked = Self {
            address: server.to_string(),
            client: "192.0.2.1".into(),
            method: method.into(),
            path: path.into(),
            host: "api.example".into(),
            scheme: "https",
            headers: headers.collect(),
            raw: false,
            body: String::new(),
        };
        [asked.clone(), Self { raw: true, ..asked }]
    }
}

/// The answer that Envoy would act on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    /// Of the response to the client; 200 for a request that goes on.
    status: u16,
    /// Of the response to the client, or set on the request that goes on.
    headers: Vec<(String, String)>,
    removed: Vec<String>,
    body: String,
    code: u8,
    /// The name of the status of a call that failed.
    failed: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        values.next().map(|(_, value)| &**value)
    }

    /// The code of the problem.
    fn problem(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

async fn answers(asked: &[Asked]) -> Option<Vec<Answer>> {
    let answers: Vec<Answer> = run(include_str!("ext_authz.py"), asked).await?;
    assert_eq!(answers.len(), asked.len());
    Some(answers)
}

fn pair(header: &str) -> (&str, &str) {
    header.split_once(": ").unwrap()
}

const GOOD: (&str, &str) = ("X-API-Key", KEY);

#[tokio::test(flavor = "multi_thread")]
async fn each_outcome_is_one_that_envoy_reads() {
    let server = serve("127.0.0.0/8").await;
    let limited = ("X-API-Key", OTHER_KEY);
    let cases = [
        ("GET /orders/7?page=2", &[GOOD][..], 200, "", 0),
        ("PATCH /profile", &[GOOD], 200, "", 0),
        ("HEAD /orders/7", &[GOOD], 200, "", 0),
        ("GET /orders/7", &[], 401, "missing_key", 16),
        ("GET /orders/7", &[("X-API-Key", "a-wrong-key-0123456789")], 401, "unknown_key", 16),
        ("GET /orders/7", &[GOOD, ("Authorization", "Bearer abc")], 400, "ambiguous_key", 3),
        ("POST /orders", &[GOOD], 403, "insufficient_scope", 7),
        ("GET /admin", &[GOOD], 403, "forward_auth_refused", 7),
        ("DELETE /orders/7", &[GOOD], 403, "forward_auth_refused", 7),
        ("PATCH /profile", &[limited], 429, "rate_limited", 8),
        ("GET /orders/7", &[("X-API-Key", SILENT_KEY)], 503, "store_unavailable", 14),
    ];
    let first = Asked::both(server, "PATCH /profile", &[limited]);
    let mut asked = vec![first[0].clone()];
    for (line, headers, ..) in cases {
        asked.extend(Asked::both(server, line, headers));
    }
    let Some(answers) = answers(&asked).await else { return };
    assert_eq!(answers[0].status, 200, "what uses the limit up: {:?}", answers[0]);
    for (asked, (answers, (line, _, status, problem, code))) in
        asked[1..].chunks(2).zip(answers[1..].chunks(2).zip(cases))
    {
        for answer in answers {
            assert_eq!((answer.status, answer.code), (status, code), "{line}: {answer:?}");
            if status == 200 {
                assert_eq!(answer.header("x-api-key-id").unwrap().len(), 36);
                assert_eq!(answer.header("x-api-key-owner"), Some("Zo%C3%AB"));
                assert_eq!(answer.header("x-api-key-scopes"), Some("orders:read"));
                assert_eq!(answer.removed, ["x-api-key", "authorization"], "{asked:?}");
                continue;
            }
            assert_eq!(answer.problem(), problem);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let has_challenge = matches!(status, 400 | 401) || problem == "insufficient_scope";
            assert_eq!(answer.header("www-authenticate").is_some(), has_challenge, "{answer:?}");
            assert_eq!(answer.header("retry-after").is_some(), status >= 429, "{answer:?}");
            assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("grpc-")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled() {
    let server = serve("127.0.0.0/8").await;
    let (mut closed, mut without_key) = (Vec::new(), Vec::new());
    for (line, headers) in CLOSED {
        let headers: Vec<_> = headers.iter().map(|header| pair(header)).chain([GOOD]).collect();
        closed.extend(Asked::both(server, line, &headers));
    }
    for (line, headers) in WITHOUT_KEY {
        let headers: Vec<_> = headers.iter().map(|header| pair(header)).collect();
        without_key.extend(Asked::both(server, line, &headers));
    }
    // Of this protocol.
    let of_envoy = [
        ("CONNECT /profile", &[GOOD][..]),
        ("GET /orders/7", &[GOOD, (":path", "/admin")]),
        ("GET /orders/7", &[GOOD, (":method", "DELETE")]),
        ("GET /orders/7", &[GOOD, (":authority", "evil.example")]),
        ("GET /orders/7", &[GOOD, (":protocol", "websocket")]),
        ("GET /orders/7", &[GOOD, ("Host", "evil.example")]),
        ("GET /orders/7", &[GOOD, ("Connection", "close, X-Api-Key-Id")]),
        ("GET /orders/7", &[GOOD, ("X_Api_Key_Id", "forged")]),
        ("GET /orders/7", &[GOOD, ("X.Api.Key.Owner", "forged")]),
        ("GET ", &[GOOD]),
        ("GET api.example:443", &[GOOD]),
        ("GET /orders/7#/admin", &[GOOD]),
    ];
    for (line, headers) in of_envoy {
        closed.extend(Asked::both(server, line, headers));
    }
    // Two keys are none, in either form.
    without_key.extend(Asked::both(server, "GET /orders/7", &[GOOD, GOOD]));
    without_key.extend(Asked::both(server, "GET /orders/7", &[GOOD, ("X-API-Key", OTHER_KEY)]));
    without_key.extend(Asked::both(server, "GET /orders/7", &[("X-API-Key", ""), GOOD]));
    // A key from elsewhere than its networks, and a request without TLS.
    let [elsewhere, _] = Asked::both(server, "GET /orders/7", &[GOOD]);
    closed.push(Asked { client: "198.51.100.7".into(), ..elsewhere.clone() });
    closed.push(Asked { scheme: "http", ..elsewhere.clone() });
    closed.push(Asked { scheme: "ftp", ..elsewhere.clone() });
    closed.push(Asked { host: "a.example,b.example".into(), ..elsewhere.clone() });
    closed.push(Asked { client: "client.example".into(), ..elsewhere.clone() });
    // Let in, with the identity of the key and no other.
    let forged = [GOOD, ("X-Api-Key-Id", "forged"), ("x-api-key-id", "forged")];
    let mut open = Asked::both(server, "GET /orders/7", &forged).to_vec();
    let body = "_method=DELETE".into();
    open.push(Asked { body, ..elsewhere });

    let all = [&closed[..], &without_key, &open].concat();
    let Some(answers) = answers(&all).await else { return };
    assert!(all.len() > 90, "{}", all.len());
    for (at, (asked, answer)) in all.iter().zip(&answers).enumerate() {
        assert!(!answer.headers.iter().any(|(_, value)| value == "forged"), "{answer:?}");
        if at >= closed.len() + without_key.len() {
            assert_eq!(answer.status, 200, "{asked:?}: {answer:?}");
            assert_eq!(answer.header("x-api-key-id").unwrap().len(), 36);
        } else {
            let expected = if at < closed.len() { 403..=403 } else { 400..=403 };
            assert!(expected.contains(&answer.status), "{asked:?}: {answer:?}");
            assert_ne!(answer.code, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_lets_nothing_in() {
    let (server, far) = (serve("127.0.0.0/8").await, serve("192.0.2.0/24").await);
    let [asked, _] = Asked::both(server, "GET /orders/7", &[GOOD]);
    let filler = ("x-filler".to_owned(), "f".repeat(129 * 1024));
    let all = [
        // A hook that panics ends its own call.
        Asked { host: PANICS.into(), ..asked.clone() },
        // No proxy may ask for so much.
        Asked { headers: vec![filler], raw: true, ..asked.clone() },
        // A peer that is no proxy.
        Asked { address: far.to_string(), ..asked.clone() },
        asked,
    ];
    let Some(answers) = answers(&all).await else { return };
    for (answer, status) in answers.iter().zip([0, 0, 403, 200]) {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.failed.is_empty(), status != 0, "{answer:?}");
    }
    assert_eq!(answers[1].failed, "OUT_OF_RANGE");
    assert_eq!(answers[2].problem(), "forward_auth_refused");
}

/// What is written there is Envoy's, and denies where nothing answers.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_of_the_guide_is_one_of_envoy() {
    let guide = include_str!("../../docs/guide/forward_auth.md");
    let (_, section) = guide.split_once("\n## Envoy\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```yaml\n").skip(1);
    let blocks: Vec<_> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    let Some(read): Option<[Value; 2]> = run(include_str!("envoy_config.py"), &blocks).await else {
        return;
    };
    let filter = &read[0]["http_filters"][0]["typed_config"];
    // False, which is the default, and so not printed.
    assert_eq!(filter["failure_mode_allow"], Value::Null);
    assert_eq!(filter["status_on_error"]["code"], "ServiceUnavailable");
    assert_eq!(filter["with_request_body"], Value::Null);
    assert_eq!(filter["grpc_service"]["envoy_grpc"]["cluster_name"], read[1]["name"]);
    let early = &read[0]["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
    for name in ["x-api-key-id", "x-api-key-owner", "x-api-key-scopes"] {
        let is_removed = |mutation: &Value| mutation["remove"] == *name;
        assert!(early.as_array().unwrap().iter().any(is_removed), "{name}");
    }
}
