//! hyper 1, without a framework: all layers around a function.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{BoxError, Service, ServiceBuilder};
use tower_api_key::{RequireScopesLayer, auth::ResponseBody};
use tower_http::{cors::CorsLayer, trace::TraceLayer};

use crate::client::{Keys, assert_denied, assert_handler_answers, assert_stack_denies, get};

async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    address
}

async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(crate::client::greeting(&request).into()))
}

#[tokio::test]
async fn every_layer_around_a_function() {
    let keys = Keys::new().await;
    let server = serve(stack!(keys.layer.clone()).service_fn(greet)).await;
    assert_handler_answers(server, &keys).await;
    assert_stack_denies(server, &keys).await;
}

/// No layer boxes the body on the way, and its error is the inner one.
#[tokio::test]
async fn the_body_as_it_is() {
    let keys = Keys::new().await;
    let service = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(crate::layers::timeout())
        .map_response(|response: Response<ResponseBody<ResponseBody<Full<Bytes>>>>| response)
        .layer(keys.layer.clone())
        .layer(RequireScopesLayer::all(["read"]).unwrap())
        .service_fn(greet);
    let server =
        serve(ServiceBuilder::new().layer(TraceLayer::new_for_http()).service(service)).await;
    assert_handler_answers(server, &keys).await;
    assert_denied(&get(server, &[]).await, 401, "missing_key");
}
