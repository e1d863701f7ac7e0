//! The greeter behind layers, on a server of its own.

use std::{net::SocketAddr, pin::Pin};

use axum::Router;
use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tower_api_key::{
    KeyHasher, KeyId, Rejection, Timestamp,
    clock::SettableClock,
    key::KeyRecord,
    limit::{Limit, Limits, Quota},
    nonzero,
    scope::ScopeRule,
    tonic::RequestExt,
};

use self::greeter::{
    GreetOftenRequest, GreetRequest, Greeting,
    greeter_server::{Greeter, GreeterServer},
};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
pub(crate) mod greeter {
    include!("../../examples/tonic/generated/greeter.rs");
}

pub(crate) const KEY: &str = "first-key-of-these-tests-0123456789";
pub(crate) const OTHER_KEY: &str = "other-key-of-these-tests-9876543210";

/// When the tests take place: 2026-11-23T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

pub(crate) fn clock() -> SettableClock {
    SettableClock::new(NOW)
}

/// An active key, changed.
pub(crate) fn record(change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    let id = KeyId::generate(NOW).unwrap();
    let mut record = KeyRecord::new(id, KeyHasher::sha256().digest(KEY), "first", NOW);
    change(&mut record);
    record
}

/// One call an hour.
pub(crate) fn limited(key: &mut KeyRecord) {
    let quota = Quota::per_hour(nonzero!(1));
    key.details.limits = Limits::new([Limit::new("hourly", quota).unwrap()]).unwrap();
}

/// What the handlers ask of a call.
#[derive(Clone, Default)]
pub(crate) enum Asks {
    #[default]
    Key,
    NoKey,
    Scopes(ScopeRule),
    /// An owner, which is a text.
    Owner,
    /// They deny by themselves.
    Denies(Rejection),
}

struct MyGreeter(Asks);

impl MyGreeter {
    fn name<T>(&self, request: &Request<T>) -> Result<String, Status> {
        match &self.0 {
            Asks::Key => Ok(request.api_key()?.name().to_owned()),
            Asks::NoKey => {
                let key = request.optional_api_key()?;
                Ok(key.map_or("none", |key| key.name()).to_owned())
            }
            Asks::Scopes(rule) => Ok(request.require_scopes(rule)?.name().to_owned()),
            Asks::Owner => Ok(request.owner::<String>()?.to_string()),
            Asks::Denies(rejection) => Err(rejection.clone().into()),
        }
    }
}

#[tonic::async_trait]
impl Greeter for MyGreeter {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<Greeting>, Status> {
        Ok(Response::new(Greeting { text: self.name(&request)? }))
    }

    type GreetOftenStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<Response<Self::GreetOftenStream>, Status> {
        let name = self.name(&request)?;
        let greetings =
            (0..request.get_ref().times).map(move |_| Ok(Greeting { text: name.clone() }));
        Ok(Response::new(stream::iter(greetings).boxed()))
    }
}

/// The greeter without a layer.
pub(crate) fn service(asks: Asks) -> Router {
    Routes::new(GreeterServer::new(MyGreeter(asks))).into_axum_router()
}

/// Over HTTP/2 and HTTP/1.1.
pub(crate) async fn serve(service: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().accept_http1(true).add_routes(Routes::from(service));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}
