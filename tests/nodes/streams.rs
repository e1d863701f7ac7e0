//! Streams on one node end when their key is revoked on another: server-sent events, a WebSocket and a
//! stream of gRPC, by real servers and clients.

use std::{
    io::{Write, stderr},
    pin::Pin,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code},
    response::{
        Response,
        sse::{Event, Sse},
    },
    routing::get,
};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::{interval, timeout},
};
use tokio_stream::wrappers::{IntervalStream, TcpListenerStream};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tonic::{Code, Request, Status};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, KeyManager, NewKey};

use self::greeter::{
    GreetOftenRequest, GreetRequest, Greeting,
    greeter_client::GreeterClient,
    greeter_server::{Greeter, GreeterServer},
};
use crate::{node::Node, place::Place, watched::TIMEOUT};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod greeter {
    include!("../../examples/tonic/generated/greeter.rs");
}

alone_on_servers!(streams_end_within_200_ms_of_a_revocation_elsewhere);

const ROUNDS: usize = 34;
const SERIES: usize = 3;
/// What the documentation promises for 99 in 100 streams.
const PROMISE: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(5);

fn ticks() -> IntervalStream {
    IntervalStream::new(interval(TICK))
}

async fn events(key: AuthenticatedKey) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let end = key.revoked().map(|reason| Event::default().event("end").data(reason.code()));
    let end = end.shared();
    let ticks = ticks().map(|_| Event::default().data("tick")).take_until(end.clone());
    Sse::new(ticks.chain(stream::once(end)).map(Ok))
}

async fn socket(key: AuthenticatedKey, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let (mut end, mut ticks) = (key.revoked(), ticks());
        loop {
            tokio::select! {
                _ = ticks.next() => socket.send(Message::text("tick")).await.unwrap(),
                reason = &mut end => {
                    let frame = CloseFrame { code: close_code::POLICY, reason: reason.code().into() };
                    let _ = socket.send(Message::Close(Some(frame))).await;
                    return;
                }
            }
        }
    })
}

struct Ticks;

#[tonic::async_trait]
impl Greeter for Ticks {
    async fn greet(&self, _: Request<GreetRequest>) -> Result<tonic::Response<Greeting>, Status> {
        Err(Status::unimplemented(""))
    }

    type GreetOftenStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<tonic::Response<Self::GreetOftenStream>, Status> {
        let key = request.extensions().get::<AuthenticatedKey>().unwrap();
        let end = key.revoked().map(|reason| Err(Status::unauthenticated(reason.code()))).shared();
        let ticks = ticks().map(|_| Ok(Greeting { text: "tick".into() })).take_until(end.clone());
        Ok(tonic::Response::new(Box::pin(ticks.chain(stream::once(end)))))
    }
}

/// The addresses of both servers of a node.
async fn serve(layer: ApiKeyLayer) -> [String; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap().to_string();
    let app = Router::new().route("/events", get(events)).route("/socket", get(socket));
    let app = app.layer(layer.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = listener.local_addr().unwrap().to_string();
    let server =
        tonic::transport::Server::builder().layer(layer).add_service(GreeterServer::new(Ticks));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    [http, grpc]
}

/// What a client reads until its stream is over.
type Reading = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Reads events by hand, as `curl -N` does.
async fn read_events(server: &str, key: &str) -> Reading {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nhost: test\r\nx-api-key: {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    while !lines.next_line().await.unwrap().unwrap().contains("data: tick") {}
    Box::pin(async move {
        while !lines.next_line().await.unwrap().unwrap().contains("data: revoked_key") {}
        // The last chunk: the body is over, and not cut off.
        while lines.next_line().await.unwrap().unwrap() != "0" {}
    })
}

async fn read_socket(server: &str, key: &str) -> Reading {
    let mut request = format!("ws://{server}/socket").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_text());
    Box::pin(async move {
        loop {
            match socket.next().await.unwrap().unwrap() {
                tungstenite::Message::Close(frame) => {
                    assert_eq!(frame.unwrap().reason.as_str(), "revoked_key");
                    let _ = socket.close(None).await;
                    return;
                }
                message => assert!(message.is_text()),
            }
        }
    })
}

async fn read_grpc(server: &str, key: &str) -> Reading {
    let mut client = GreeterClient::connect(format!("http://{server}")).await.unwrap();
    let mut request = Request::new(GreetOftenRequest { times: 1 });
    request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    let mut stream = client.greet_often(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    Box::pin(async move {
        loop {
            if let Err(status) = stream.message().await {
                assert_eq!(
                    (status.code(), status.message()),
                    (Code::Unauthenticated, "revoked_key")
                );
                return;
            }
        }
    })
}

/// After which time each of the three streams of a key has ended.
async fn round(manager: &KeyManager, [http, grpc]: &[String; 2]) -> [Duration; 3] {
    let key = manager.create(NewKey::named("k")).await.unwrap();
    let secret = key.secret.expose();
    let readings = [
        read_events(http, secret).await,
        read_socket(http, secret).await,
        read_grpc(grpc, secret).await,
    ];
    let began = Instant::now();
    let readings = readings.map(|reading| {
        tokio::spawn(async move {
            timeout(TIMEOUT, reading).await.expect("the stream ends");
            began.elapsed()
        })
    });
    manager.revoke(key.record.id, None).await.unwrap();
    let mut times = [Duration::ZERO; 3];
    for (time, reading) in times.iter_mut().zip(readings) {
        *time = reading.await.unwrap();
    }
    times
}

async fn streams_end_within_200_ms_of_a_revocation_elsewhere(place: &Place) {
    let node = Node::of(place).await;
    let (manager, servers) = (place.manager().await, serve(node.layer.clone()).await);
    for _ in 0..SERIES {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let round = round(&manager, &servers).await;
            times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
        }
        let (name, [events, socket, grpc]) =
            (place.name(), times.each_ref().map(|times| times.iter().max().unwrap()));
        let _ = writeln!(
            stderr(),
            "{name}: events {events:.1?}, WebSocket {socket:.1?}, gRPC {grpc:.1?} at the latest"
        );
        let late = times.iter().flatten().filter(|time| **time > PROMISE).count();
        if late <= ROUNDS * 3 / 100 {
            return;
        }
    }
    panic!("too many were late in each series");
}
