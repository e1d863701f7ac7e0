//! gRPC-Web: a page's client reads of a denial what a native one does, whichever layer stands outside.

use axum::Router;
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use tonic::{Request, Status, transport::Channel};
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::ServiceBuilder;
use tower_api_key::{
    ApiKeyLayer, RateLimits, Rejection, RejectionKind, Scopes, limit::LocalLimiter,
    scope::ScopeRule, store::FixedStore,
};

use crate::serve::{
    Asks, KEY, clock,
    greeter::{GreetRequest, greeter_client::GreeterClient},
    limited, record, serve, service,
};

/// Services that deny a call with the key, by handlers and by the layer: the first one, or the second.
fn denying() -> Vec<(Router, ApiKeyLayer)> {
    let layer = || {
        let store = FixedStore::new().with_record(record(limited)).unwrap();
        ApiKeyLayer::new(store).with_clock(clock()).with_grpc_web_denials()
    };
    let missing = Scopes::parse(["orders:read", "orders:write"]).unwrap();
    let by_handler = |rejection| service(Asks::Denies(rejection));
    let wait = std::time::Duration::from_secs(7);
    let used_up = RateLimits::new(LocalLimiter::builder().with_clock(clock()).build());
    vec![
        (service(Asks::Key), layer().with_sources([])),
        (service(Asks::Scopes(ScopeRule::scope("orders:read").unwrap())), layer()),
        (by_handler(Rejection::insufficient_scope(missing)), layer()),
        (by_handler(Rejection::new(RejectionKind::Unavailable).with_retry_after(wait)), layer()),
        (by_handler(RejectionKind::Revoked.into()), layer().with_uniform_denials()),
        (service(Asks::Key), layer().with_rate_limits(used_up)),
    ]
}

fn call() -> Request<GreetRequest> {
    let mut request = Request::new(GreetRequest {});
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    request
}

async fn native(url: String) -> Status {
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    GreeterClient::new(channel).greet(call()).await.unwrap_err()
}

/// As a page does, over HTTP/1.1.
async fn of_a_page(url: String) -> Status {
    let http = HttpClient::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new().layer(GrpcWebClientLayer::new()).service(http);
    GreeterClient::with_origin(service, url.parse().unwrap()).greet(call()).await.unwrap_err()
}

/// What a client is told, without what is about the time and the body.
fn told(status: &Status) -> String {
    let mut metadata = status.metadata().clone().into_headers();
    metadata.remove("date");
    metadata.remove("content-length");
    metadata.remove("content-type");
    let mut metadata: Vec<_> = metadata.iter().collect();
    metadata.sort_by_key(|(name, _)| name.as_str());
    format!("{:?} {} {:?} {metadata:?}", status.code(), status.message(), status.details())
}

#[tokio::test]
async fn a_page_is_told_what_a_native_client_is() {
    for (service, layer) in denying() {
        let bare = serve(service.clone().layer(layer.clone())).await;
        let inside = service.clone().layer(layer.clone()).layer(GrpcWebLayer::new());
        let outside = service.layer(GrpcWebLayer::new()).layer(layer);
        // A limit lets the first call in.
        let url = format!("http://{bare}");
        let channel = Channel::from_shared(url.clone()).unwrap().connect().await.unwrap();
        let _ = GreeterClient::new(channel).greet(call()).await;
        let expected = native(url).await;
        assert!(!expected.details().is_empty());
        for service in [inside, outside] {
            let server = serve(service).await;
            let status = of_a_page(format!("http://{server}")).await;
            assert_eq!(told(&status), told(&expected));
        }
    }
}
