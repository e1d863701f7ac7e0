//! Denied gRPC requests get gRPC responses.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, OwnerId, OwnerLayer, RateLimits, Rejection, RejectionKind, RequireScopesLayer,
    extra_cost::ExtraCostLayer, limit::LocalLimiter, nonzero,
};

use crate::{
    denials::{TABLE, denied},
    stores::TestStore,
    support::{KEY, code, header_values, record, request, respond_now, send, send_waiting},
};

const NATIVE_TYPES: [&str; 3] =
    ["application/grpc", "application/grpc+proto", "application/grpc+json"];
const WEB_TYPES: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// The same request as a native gRPC one.
pub(crate) fn as_grpc(mut request: Request<()>, content_type: &str) -> Request<()> {
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    request.headers_mut().insert(header::TE, "trailers".parse().unwrap());
    request
}

/// The same request as a gRPC-Web one over HTTP/1.1.
fn as_web(request: Request<()>, content_type: &str) -> Request<()> {
    let mut request = as_grpc(request, content_type);
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().remove(header::TE);
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
        let layer = layer.with_grpc_web_denials();
        let native = NATIVE_TYPES.map(|native| (native, as_grpc(request.clone(), native)));
        let web = WEB_TYPES.map(|web| (web, as_web(request.clone(), web)));
        for (content_type, request) in native.into_iter().chain(web) {
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

/// How a layer was told to deny.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Default,
    WithWeb,
    Without,
}

impl Mode {
    fn of(self, layer: ApiKeyLayer) -> ApiKeyLayer {
        match self {
            Self::Default => layer,
            Self::WithWeb => layer.with_grpc_web_denials(),
            Self::Without => layer.without_grpc_denials(),
        }
    }

    /// Whether a request is denied in the form of gRPC, which is HTTP 200.
    fn is_grpc(self, request: &Request<()>) -> bool {
        let values = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        let [content_type] = values(header::CONTENT_TYPE)[..] else { return false };
        if self == Self::Without || request.method() != Method::POST {
            return false;
        }
        let is_native = NATIVE_TYPES.iter().any(|native| content_type == native)
            && values(header::TE) == ["trailers"]
            && (self == Self::WithWeb
                || [Version::HTTP_2, Version::HTTP_3].contains(&request.version()));
        let is_web = self == Self::WithWeb && WEB_TYPES.iter().any(|web| content_type == web);
        is_native || is_web
    }
}

/// Method × version × content types × `te`.
fn requests() -> Vec<Request<()>> {
    let methods = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "QUERY", "post"];
    let versions =
        [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];
    let mut content_types: Vec<Vec<&str>> =
        NATIVE_TYPES.into_iter().chain(WEB_TYPES).map(|only| vec![only]).collect();
    content_types.extend([
        vec![],
        vec![""],
        vec!["application/json"],
        vec!["Application/gRPC"],
        vec!["application/grpcish"],
        vec!["application/grpc; charset=utf-8"],
        vec!["application/grpc, text/html"],
        vec!["application/grpc-web;q=1"],
        vec!["application/grpc", "application/grpc"],
        vec!["application/grpc", "text/html"],
        vec!["text/html", "application/grpc"],
        vec!["application/grpc-web", "application/grpc-web"],
    ]);
    let te: [&[&str]; 6] = [
        &["trailers"],
        &[],
        &["trailers", "trailers"],
        &["Trailers"],
        &["trailers, deflate"],
        &["deflate"],
    ];
    let mut requests = Vec::new();
    for method in methods {
        for version in versions {
            for types in &content_types {
                for te in te {
                    let mut request = Request::builder().method(method).version(version);
                    for value in types {
                        request = request.header(header::CONTENT_TYPE, *value);
                    }
                    for value in te {
                        request = request.header(header::TE, *value);
                    }
                    requests.push(request.body(()).unwrap());
                }
            }
        }
    }
    requests
}

/// What denies the request.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The layer itself.
    Layer,
    /// A layer inside, of which the key has not the scopes.
    Scopes,
    /// The same, where the layer outside let the request in without a key.
    ScopesWithoutKey,
    /// A layer inside that finds no active owner.
    Owner,
    /// A handler inside, which answers as gRPC whatever the request is, as tonic does.
    Handler,
    /// A layer whose layer outside is missing: a mistake of the program.
    ScopesWithoutLayer,
    OwnerWithoutLayer,
    CostWithoutLayer,
}

impl By {
    const ALL: [Self; 8] = [
        Self::Layer,
        Self::Scopes,
        Self::ScopesWithoutKey,
        Self::Owner,
        Self::Handler,
        Self::ScopesWithoutLayer,
        Self::OwnerWithoutLayer,
        Self::CostWithoutLayer,
    ];

    fn is_a_mistake(self) -> bool {
        matches!(self, Self::ScopesWithoutLayer | Self::OwnerWithoutLayer | Self::CostWithoutLayer)
    }

    /// HTTP status, gRPC status, and how the message begins.
    fn meaning(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Layer | Self::ScopesWithoutKey => (401, "16", "missing_key: "),
            Self::Scopes => (403, "7", "insufficient_scope: "),
            Self::Owner | Self::Handler => (401, "16", "inactive_owner: "),
            _ => (500, "13", "No identity in this request: add `tower_api_key::ApiKeyLayer`"),
        }
    }

    fn deny(self, mode: Mode, mut request: Request<()>) -> Response<Bytes> {
        let inner = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
        });
        let layer = mode.of(ApiKeyLayer::new(TestStore::new([record(KEY)])));
        let scopes = RequireScopesLayer::all(["orders:write"]).unwrap();
        let owner = OwnerLayer::new(async |_: OwnerId| Ok::<Option<()>, Infallible>(None));
        let cost = ExtraCostLayer::new(RateLimits::new(LocalLimiter::new()), nonzero!(2));
        if matches!(self, Self::Scopes | Self::Owner | Self::Handler) {
            request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
        }
        match self {
            Self::Layer => respond_now(layer.layer(inner), request),
            Self::Scopes => respond_now(layer.layer(scopes.layer(inner)), request),
            Self::ScopesWithoutKey => {
                respond_now(layer.allow_anonymous().layer(scopes.layer(inner)), request)
            }
            Self::Owner => respond_now(layer.layer(owner.layer(inner)), request),
            Self::Handler => respond_now(layer.layer(service_fn(denies)), request),
            Self::ScopesWithoutLayer => respond_now(scopes.layer(inner), request),
            Self::OwnerWithoutLayer => respond_now(owner.layer(inner), request),
            Self::CostWithoutLayer => respond_now(cost.layer(inner), request),
        }
    }
}

/// A handler that denies by a status, in the type of the request where that is one of gRPC.
async fn denies(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    response.extensions_mut().insert(Rejection::new(RejectionKind::InactiveOwner));
    let native = HeaderValue::from_static("application/grpc");
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = |value: &&HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let content_type = content_type.filter(is_grpc).unwrap_or(&native).clone();
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("16"));
    Ok(response)
}

/// Proxies that ask whether to let a request in take 2xx for yes, and pass the client's headers on.
/// So nothing but a request that only a gRPC client sends gets a denial whose status is 200.
#[test]
fn nothing_else_turns_a_denial_into_a_success() {
    let mut as_grpc = 0;
    for request in requests() {
        for mode in [Mode::Default, Mode::WithWeb, Mode::Without] {
            for by in By::ALL {
                // Without a layer, nothing was told.
                let told = if by.is_a_mistake() { Mode::Default } else { mode };
                let response = by.deny(mode, request.clone());
                let (http, grpc, said) = by.meaning();
                assert_eq!(header_values(&response, header::CACHE_CONTROL), ["no-store"]);
                if told.is_grpc(&request) {
                    as_grpc += 1;
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.headers()["grpc-status"], grpc);
                    assert!(message(&response).starts_with(said), "{}", message(&response));
                    let content_type = &request.headers()[header::CONTENT_TYPE];
                    assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
                    assert!(response.body().is_empty());
                } else {
                    assert_eq!(response.status(), http, "{by:?}, {mode:?}: {request:?}");
                    assert!(!response.headers().contains_key("grpc-status"));
                    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
                    let expected = if by.is_a_mistake() {
                        "text/plain; charset=utf-8"
                    } else {
                        "application/problem+json"
                    };
                    assert_eq!(content_type, expected);
                }
            }
        }
    }
    // 3 native types over 2 versions where nothing was told, and over 5 where gRPC-Web is known,
    // with its own 4 types over 5 versions whatever `te` is (6 kinds).
    let (default, web) = (3 * 2, 3 * 5 + 4 * 5 * 6);
    assert_eq!(as_grpc, 5 * (default + web) + 3 * 3 * default);
}

/// What a layer outside says holds for another layer inside.
#[test]
fn a_layer_inside_does_not_undo_it() {
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    let layer = || ApiKeyLayer::new(TestStore::new([record(KEY)]));
    let inside = layer().with_grpc_web_denials();
    let outside = layer().allow_anonymous().without_grpc_denials();
    let request = as_grpc(Request::new(()), "application/grpc");
    let response = respond_now(outside.layer(inside.layer(inner)), request.clone());
    assert_eq!((response.status().as_u16(), &*code(&response)), (401, "missing_key"));

    let denied_by_handler = outside.layer(inside.layer(service_fn(denies)));
    let mut request = request;
    request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    let response = respond_now(denied_by_handler, request);
    assert_eq!((response.status().as_u16(), &*code(&response)), (401, "inactive_owner"));
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
        .layer(ApiKeyLayer::new(TestStore::new([record(KEY)])).with_grpc_web_denials())
        .layer(RequireScopesLayer::all(["orders:write"]).unwrap())
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
        }));
    let request = as_web(request(&[("x-api-key", KEY)]), "application/grpc-web+proto");
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
