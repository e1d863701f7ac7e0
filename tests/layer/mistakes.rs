//! A layer that is missing outside is a mistake of the program: a gRPC client is told the remedy as
//! well, whatever it is that misses the layer.

use axum::{Router, http::StatusCode, routing::post};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status,
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::ServiceBuilder;
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, Owner, OwnerId, OwnerLayer, RateLimits, RequireScopesLayer,
    extra_cost::ExtraCostLayer, limit::LocalLimiter, nonzero,
};

use crate::{
    stores::TestStore,
    support::{KEY, record},
};
use greeter::{GreetRequest, greeter_client::GreeterClient};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod greeter {
    include!("../../examples/tonic/generated/greeter.rs");
}

const METHOD: &str = "/greeter.Greeter/Greet";

const NO_KEY_LAYER: &str = "No identity in this request: add `tower_api_key::ApiKeyLayer` outside \
                            this route, with `Router::layer` or `ServiceBuilder::layer`.";
const NO_OWNER_LAYER: &str = "No owner of this type in this request: add \
                              `tower_api_key::OwnerLayer` outside this route and inside \
                              `ApiKeyLayer`, with `Router::layer` or `ServiceBuilder::layer`.";

/// Everything that looks for what a layer outside attaches, each without any layer outside.
fn misplaced() -> Vec<(&'static str, Router, &'static str)> {
    let route = || Router::new().route(METHOD, post(async || StatusCode::IM_A_TEAPOT));
    let scopes = RequireScopesLayer::all(["orders:read"]).unwrap();
    let owner = || OwnerLayer::new(async |_: OwnerId| Ok::<_, std::io::Error>(Some(())));
    let cost = || ExtraCostLayer::new(RateLimits::new(LocalLimiter::new()), nonzero!(2));
    let with_key = post(async |_: AuthenticatedKey| {});
    let with_owner = post(async |_: Owner<()>| {});
    let perhaps_with_key = post(async |_: Option<AuthenticatedKey>| {});
    let perhaps_with_owner = post(async |_: Option<Owner<()>>| {});
    vec![
        ("scopes", route().layer(scopes.clone()), NO_KEY_LAYER),
        ("anonymous scopes", route().layer(scopes.allow_anonymous()), NO_KEY_LAYER),
        ("owner", route().layer(owner()), NO_KEY_LAYER),
        ("anonymous owner", route().layer(owner().allow_anonymous()), NO_KEY_LAYER),
        ("cost", route().layer(cost()), NO_KEY_LAYER),
        ("anonymous cost", route().layer(cost().allow_anonymous()), NO_KEY_LAYER),
        ("key of a handler", Router::new().route(METHOD, with_key), NO_KEY_LAYER),
        ("its optional key", Router::new().route(METHOD, perhaps_with_key), NO_KEY_LAYER),
        ("owner of a handler", Router::new().route(METHOD, with_owner), NO_OWNER_LAYER),
        ("its optional owner", Router::new().route(METHOD, perhaps_with_owner), NO_OWNER_LAYER),
    ]
}

#[tokio::test]
async fn a_grpc_client_is_told_the_remedy() {
    for (name, router, remedy) in misplaced() {
        let status = call(serve(router).await).await;
        assert_eq!((status.code(), status.message()), (Code::Internal, remedy), "{name}");
    }
}

/// Over gRPC-Web as well, where a layer for keys was told of it. A missing one was told nothing.
#[tokio::test]
async fn a_grpc_web_client_is_told_where_the_layer_for_keys_knows_it() {
    for (name, router, remedy) in misplaced() {
        let is_told = remedy == NO_OWNER_LAYER;
        let router = if is_told {
            let keys = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_grpc_web_denials();
            router.layer(keys)
        } else {
            router
        };
        let status = call_from_web(serve(router.layer(GrpcWebLayer::new())).await).await;
        if is_told {
            assert_eq!((status.code(), status.message()), (Code::Internal, remedy), "{name}");
        } else {
            assert_ne!(status.code(), Code::Ok, "{name}");
        }
    }
}

/// The same text as over HTTP.
#[tokio::test]
async fn an_http_client_is_told_the_same() {
    for (name, router, remedy) in misplaced() {
        let url = serve(router).await;
        let http_client = HttpClient::builder(TokioExecutor::new()).build_http();
        let request = http::Request::post(url + METHOD).body(String::new()).unwrap();
        let response = http_client.request(request).await.unwrap();
        assert_eq!(response.status(), 500, "{name}");
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), format!("{remedy}\n"), "{name}");
    }
}

/// At this address, over HTTP/1.1 and HTTP/2.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().accept_http1(true).add_routes(Routes::from(router));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    url
}

async fn call(url: String) -> Status {
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    GreeterClient::new(channel).greet(with_key()).await.unwrap_err()
}

/// As a page does, over HTTP/1.1.
async fn call_from_web(url: String) -> Status {
    let http = HttpClient::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new().layer(GrpcWebClientLayer::new()).service(http);
    let mut client = GreeterClient::with_origin(service, url.parse().unwrap());
    client.greet(with_key()).await.unwrap_err()
}

fn with_key() -> Request<GreetRequest> {
    let mut request = Request::new(GreetRequest {});
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    request
}
