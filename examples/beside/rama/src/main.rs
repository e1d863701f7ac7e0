//! The layer in a server of Rama 0.4, around a Rama service.
//!
//! Rama has a `Service` of its own and types for HTTP of its own. Its crate for Tower runs a Tower service inside
//! Rama; [`InRama`] is the way back, from the layer to a Rama service.
//!
//! ```sh
//! cargo run --manifest-path examples/beside/Cargo.toml -p with-rama
//! ```
//!
//! Rama 0.4.0 asks for Rust 1.96; with 1.95 it builds with `--ignore-rust-version`.

use std::{
    convert::Infallible,
    env,
    error::Error,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{BodyExt, combinators::BoxBody};
use rama::{
    Service,
    bytes::Bytes,
    extensions::{Extension, Extensions, ExtensionsRef},
    http::{
        Body, Request, Response, StatusCode,
        convert::hyperium::{
            HyperiumBody, HyperiumBodyError, TryIntoHyperiumHttp, TryIntoRamaHttp,
        },
        service::web::response::IntoResponse,
    },
    net::stream::SocketInfo,
    rt::Executor,
    service::service_fn,
    tcp::server::TcpListener,
    utils::tower::TowerHttpServiceAdapter,
};
use rama_http_backend::server::HttpServer;
use tower::ServiceBuilder;
use tower_api_key::{
    AuthenticatedKey, KeyManager, NewKey, RequireScopesLayer, Scopes, auth::RequestHead,
    store::MemoryStore,
};

/// The key of a request, for Rama services.
#[derive(Clone, Debug, Extension)]
struct Caller(AuthenticatedKey);

async fn whoami(request: Request) -> Result<Response, Infallible> {
    let caller = request.extensions().get_ref::<Caller>();
    Ok(caller.map_or_else(
        || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |caller| format!("You are {}.\n", caller.0.name()).into_response(),
    ))
}

/// A Rama service where Tower expects one of its own.
#[derive(Clone)]
struct InRama<S>(S);

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

impl<S> tower::Service<http::Request<HyperiumBody<Body>>> for InRama<S>
where
    S: Service<Request, Output = Response, Error = Infallible> + Clone,
{
    type Response = http::Response<BoxBody<Bytes, io::Error>>;
    type Error = io::Error;
    type Future = Future<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<HyperiumBody<Body>>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let key = request.extensions().get::<AuthenticatedKey>().cloned();
            let request = request.map(HyperiumBody::into_inner).try_into_rama_http();
            let request = request.map_err(io::Error::other)?;
            if let Some(key) = key {
                request.extensions().insert(Caller(key));
            }
            let Ok(response) = service.serve(request).await;
            let response = response.try_into_hyperium_http().map_err(io::Error::other)?;
            // Of Rama's body, which is any, the error is any, and so none that a Tower service may have.
            let named = |error: HyperiumBodyError<_>| io::Error::other(error.to_string());
            Ok(response.map(|body| HyperiumBody::new(body).map_err(named).boxed()))
        })
    }
}

/// Rama keeps of a connection what it knows apart from its requests.
fn client_address(request: &RequestHead<'_>) -> Option<IpAddr> {
    let extensions = request.extensions.get::<Extensions>()?;
    let socket = extensions.ingress().and_then(|connection| connection.get_ref::<SocketInfo>());
    Some(socket.or_else(|| extensions.get_ref())?.peer_addr().ip_addr)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let keys = KeyManager::new(MemoryStore::new());
    let of = async |name: &str, scopes: &[&str], networks: &[&str]| {
        let allowed_addresses =
            networks.iter().map(|network| network.parse()).collect::<Result<_, _>>()?;
        let scopes = Scopes::parse(scopes)?;
        let new = NewKey { scopes, allowed_addresses, ..NewKey::named(name) };
        Ok::<_, Box<dyn Error + Send + Sync>>(keys.create(new).await?)
    };

    let guarded = ServiceBuilder::new()
        .layer(keys.layer().with_client_address(client_address))
        .layer(RequireScopesLayer::all(["whoami"])?)
        .service(InRama(service_fn(whoami)));
    let guarded = TowerHttpServiceAdapter::new(guarded);
    let app = service_fn(move |request: Request| {
        let guarded = guarded.clone();
        async move {
            // A head that one of the two sides does not know how to write.
            let answer = guarded.serve(request).await.map(IntoResponse::into_response);
            Ok::<_, Infallible>(answer.unwrap_or_else(|_| StatusCode::BAD_REQUEST.into_response()))
        }
    });

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind_address(addr.as_str(), Executor::new()).await?;
    let url = format!("http://{}/whoami", listener.local_addr()?);
    for (name, scopes, networks) in [
        ("the first caller", &["whoami"][..], &["127.0.0.0/8"][..]),
        ("without scopes", &[], &[]),
        ("of another network", &["whoami"], &["192.0.2.0/24"]),
    ] {
        let issued = of(name, scopes, networks).await?;
        println!("curl -H 'X-API-Key: {}' {url}   # {name}", issued.secret.expose());
    }
    listener.serve(HttpServer::auto(Executor::new()).service(app)).await;
    Ok(())
}
