//! Denied gRPC requests get gRPC responses.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, RequireScopesLayer};

use crate::{
    denials::{TABLE, denied},
    stores::TestStore,
    support::{KEY, header_values, record, request, respond_now, send, send_waiting},
};

const GRPC_TYPES: [&str; 6] = [
    "application/grpc",
    "application/grpc+proto",
    "Application/gRPC+json",
    "application/grpc-web",
    "application/grpc-web-text+proto",
    "application/grpc; charset=utf-8",
];

fn as_grpc(mut request: Request<()>, content_type: &str) -> Request<()> {
    request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    request
}

/// Undoes the percent-encoding of `grpc-message`.
fn message(response: &Response<Bytes>) -> String {
    let encoded = response.headers()["grpc-message"].as_bytes();
    let mut decoded = Vec::new();
    let mut rest = encoded;
    while let [first, tail @ ..] = rest {
        assert!((0x20..=0x7e).contains(first), "{encoded:?}");
        if let ([b'%', high, low, ..], b'%') = (rest, first) {
            let hex = [*high, *low];
            let hex = std::str::from_utf8(&hex).unwrap();
            decoded.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &rest[3..];
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(decoded).unwrap()
}

#[tokio::test]
async fn every_denial_is_a_response_of_the_protocol() {
    for (kind, layer, request) in denied() {
        for content_type in GRPC_TYPES {
            let request = as_grpc(request.clone(), content_type);
            let response = send_waiting(&layer, request).await.response;
            let (_, http, grpc, code, _) = TABLE.into_iter().find(|row| row.0 == kind).unwrap();
            assert_eq!(response.status(), 200, "{kind:?}");
            let status = HeaderName::from_static("grpc-status");
            assert_eq!(header_values(&response, status), [grpc.to_string()]);
            assert_eq!(message(&response), format!("{code}: {}", kind.detail()));
            assert_eq!(header_values(&response, header::CONTENT_TYPE), [content_type]);
            assert!(response.body().is_empty());
            let challenges = header_values(&response, header::WWW_AUTHENTICATE);
            assert_eq!(!challenges.is_empty(), [400, 401].contains(&http), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn the_stream_ends_with_the_headers() {
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    let layer = ApiKeyLayer::new(TestStore::new([]));
    let service = ServiceBuilder::new().layer(layer).service(inner);
    let response = service.oneshot(as_grpc(Request::new(()), "application/grpc")).await.unwrap();
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
}

#[test]
fn other_content_types_get_problems() {
    let layer = ApiKeyLayer::new(TestStore::new([]));
    for content_type in ["application/json", "application/grpcish", "text/application/grpc", ""] {
        let answer = send(&layer, as_grpc(Request::new(()), content_type));
        assert_eq!(answer.outcome(), "missing_key", "{content_type}");
    }
}

#[test]
fn uniform_denials_are_uniform_here_too() {
    let layer = ApiKeyLayer::new(TestStore::new([])).with_uniform_denials();
    let denied = |key| {
        let request = as_grpc(request(&[("x-api-key", key)]), "application/grpc");
        format!("{:?}", send(&layer, request).response.headers())
    };
    assert_eq!(denied("malformed"), denied(KEY));
    assert!(denied(KEY).contains("invalid_key: "), "{}", denied(KEY));
}

#[test]
fn denials_of_inner_layers_are_completed_as_grpc() {
    let service = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(TestStore::new([record(KEY)])))
        .layer(RequireScopesLayer::all(["orders:write"]).unwrap())
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
        }));
    let request = as_grpc(request(&[("x-api-key", KEY)]), "application/grpc-web+proto");
    let response = respond_now(service, request);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "7");
    assert!(message(&response).starts_with("insufficient_scope: "), "{}", message(&response));
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc-web+proto");
    assert_eq!(
        header_values(&response, header::WWW_AUTHENTICATE)[1],
        r#"Bearer realm="api", error="insufficient_scope", scope="orders:write""#
    );
    assert!(response.body().is_empty());
}
