//! The layer on plain hyper 1, without a framework: HTTP/1 and HTTP/2 on one port.
//!
//! ```sh
//! cargo run --example hyper
//! ```

#![expect(clippy::print_stdout, reason = "it prints commands to try")]
#![expect(clippy::print_stderr, reason = "its log")]

use std::{convert::Infallible, env, error::Error};

use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_api_key::{AuthenticatedKey, KeyManager, NewKey, store::MemoryStore};
use tower_http::cors::{Any, CorsLayer};

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = request.extensions().get::<AuthenticatedKey>().map_or("stranger", |key| key.name());
    let text = format!("Hello, {name}, over {:?}.\n", request.version());
    Ok(Response::new(Full::from(text)))
}

/// Pages of any origin may ask, with a key in a header and without a browser's credentials.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_headers([HeaderName::from_static("x-api-key"), header::AUTHORIZATION])
        .expose_headers([header::WWW_AUTHENTICATE])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = KeyManager::new(MemoryStore::new());
    let issued = keys.create(NewKey::named("the first caller")).await?;

    let service = ServiceBuilder::new()
        // Outside the keys: preflights carry no key, and a browser may read denials, too.
        .layer(cors())
        .layer(keys.layer())
        .service_fn(hello);

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let header = format!("X-API-Key: {}", issued.secret.expose());
    println!("curl --http1.1 -H '{header}' {url}");
    println!("curl --http2-prior-knowledge -H '{header}' {url}");

    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // Tells the protocol by the connection's first bytes.
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("connection: {error}");
            }
        });
    }
}
