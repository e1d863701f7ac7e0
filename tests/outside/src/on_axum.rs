//! axum: all layers on a `Router`.

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::Request, routing::get};
use http::Response;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_api_key::auth::ResponseBody;

use crate::client::{
    self, Keys, assert_denied, assert_handler_answers, assert_stack_denies, greeting,
};

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

fn router() -> Router {
    Router::new().route("/", get(async |request: Request| greeting(&request)))
}

#[tokio::test]
async fn every_layer_on_a_router() {
    let keys = Keys::new().await;
    let server = serve(router().layer(stack!(keys.layer.clone()))).await;
    assert_handler_answers(server, &keys).await;
    assert_stack_denies(server, &keys).await;
}

/// `option_layer` has one response type with the layer and without: the body is boxed.
#[tokio::test]
async fn keys_that_are_asked_for_by_choice() {
    let keys = Keys::new().await;
    let keys_if = |wanted: bool| {
        let boxed = |response: Response<ResponseBody<Body>>| response.map(Body::new);
        let layer = ServiceBuilder::new().map_response(boxed).layer(keys.layer.clone());
        ServiceBuilder::new().option_layer(wanted.then_some(layer))
    };
    let open = || Router::new().route("/", get(async || "open"));
    let asking = client::get(serve(open().layer(keys_if(true))).await, &[]).await;
    assert_denied(&asking, 401, "missing_key");
    let not_asking = client::get(serve(open().layer(keys_if(false))).await, &[]).await;
    assert_eq!(not_asking.body(), "open");
    assert_handler_answers(serve(router().layer(keys_if(true))).await, &keys).await;
}
