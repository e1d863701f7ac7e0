//! The layer on a tonic server: handlers, unary and streaming, know the caller, and denials are
//! gRPC statuses with details, also those of handlers. A stream ends with its key. Browsers are
//! served as well, by gRPC-Web.
//!
//! ```sh
//! cargo run --example tonic --features tonic
//! ```
//!
//! The code for `greeter.proto` was made by `scripts/generate-proto`, which needs no `protoc`.

#![expect(clippy::print_stdout, reason = "it prints commands to try")]

mod until_end;

use std::{env, error::Error, pin::Pin};

use futures_util::{Stream, stream};
use http::{HeaderName, Method};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;
use tower_api_key::{
    KeyManager, NewKey, Rejection, RejectionKind, store::MemoryStore, tonic::RequestExt,
};
use tower_http::cors::{Any, CorsLayer};

use crate::{
    greeter::{
        GreetOftenRequest, GreetRequest, Greeting,
        greeter_server::{Greeter, GreeterServer},
    },
    until_end::until_end,
};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod greeter {
    include!("generated/greeter.rs");
}

struct MyGreeter;

/// The most greetings in a stream.
const MAX_TIMES: u32 = 1000;

#[tonic::async_trait]
impl Greeter for MyGreeter {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<Greeting>, Status> {
        let key = request.api_key()?;
        Ok(Response::new(Greeting { text: format!("Hello, {}.", key.name()) }))
    }

    type GreetOftenStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<Response<Self::GreetOftenStream>, Status> {
        // A stream outlives the request, so it takes the key along: a cheap clone.
        let key = request.api_key()?.clone();
        if key.owner().is_none() {
            // A denial by the handler, like those of the layer: it makes a status.
            let rejection = Rejection::new(RejectionKind::InactiveOwner).with_key(key.id());
            return Err(rejection.into());
        }
        // It ends with the key, whatever is left of it.
        let end = key.revoked();
        let times = request.get_ref().times.min(MAX_TIMES);
        let greetings = (1..=times)
            .map(move |count| Ok(Greeting { text: format!("Hello, {}, {count}.", key.name()) }));
        Ok(Response::new(Box::pin(until_end(stream::iter(greetings), end))))
    }
}

/// Pages of any origin may call, with a key and without a browser's credentials.
fn cors() -> CorsLayer {
    let exposed = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-retry-pushback-ms",
        "www-authenticate",
    ]
    .map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers(Any)
        .expose_headers(exposed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = KeyManager::new(MemoryStore::new());
    let owned = NewKey { owner: Some("user-1".into()), ..NewKey::named("the first caller") };
    let issued = keys.create(owned).await?;
    let without_owner = keys.create(NewKey::named("the second caller")).await?;

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}/greeter.Greeter", listener.local_addr()?);
    // An empty message is five zero bytes, so even curl is a gRPC client for these methods.
    for (key, method) in [(issued, "Greet"), (without_owner, "GreetOften")] {
        println!(
            r"printf '\0\0\0\0\0' | curl -i --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' -H 'X-API-Key: {}' --data-binary @- --output - {url}/{method}",
            key.secret.expose(),
        );
    }

    let layers = ServiceBuilder::new()
        // The CORS layer stands outside: it answers preflights, which carry no key, and lets a
        // browser read denials.
        .layer(cors())
        // Makes gRPC of gRPC-Web. The layer of the keys is told, so that it denies both alike.
        .layer(GrpcWebLayer::new())
        .layer(keys.layer().with_grpc_web_denials());
    Server::builder()
        // gRPC-Web is spoken over HTTP/1.1 as well.
        .accept_http1(true)
        .layer(layers)
        .add_service(GreeterServer::new(MyGreeter))
        .serve_with_incoming(TcpIncoming::from(listener))
        .await?;
    Ok(())
}
