//! Guesses over a real server whose clients reset their connection, or their stream, while they wait.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::guesses::{Door, Mode, Slow, door, guess};

/// Serves the layer over HTTP/1 and HTTP/2 until the runtime ends.
async fn serve(door: &Door) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let inner = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("inner")))
    });
    let service = ServiceBuilder::new().layer(door.layer.clone()).service(inner);
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = service.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer.ip());
                request
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(service);
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// Waits for other tasks and for the network; how long is no part of a test.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came true");
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// The status of a request that waits for its answer.
async fn status(address: SocketAddr, key: &str) -> u16 {
    let mut stream = connect(address).await;
    stream.write_all(request(key).as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

fn request(key: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n")
}

/// Each of eight guesses is charged, and the ninth waits.
async fn assert_charged(door: &Door, address: SocketAddr) {
    door.store.go_on();
    until(|| door.store.ended() == 8).await;
    assert_eq!(status(address, &guess(99)).await, 429);
    assert_eq!(door.store.begun(), 8);
}

#[tokio::test]
async fn over_http_1() {
    let door = door(Slow::new(Mode::Answer, true));
    let address = serve(&door).await;
    for number in 0..8 {
        let mut stream = connect(address).await;
        stream.write_all(request(&guess(number)).as_bytes()).await.unwrap();
        until(|| door.store.begun() == number + 1).await;
        // Closed with a reset.
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    assert_charged(&door, address).await;
}

#[tokio::test]
async fn over_http_2() {
    let door = door(Slow::new(Mode::Answer, true));
    let address = serve(&door).await;
    let stream = TokioIo::new(connect(address).await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let send = |number: usize| {
        let request = Request::get("http://x/").header("x-api-key", guess(number));
        sender.clone().send_request(request.body(Empty::<Bytes>::new()).unwrap())
    };
    // Some reset their stream, and the others the connection.
    let mut others = Vec::new();
    for number in 0..8 {
        let mut request = Box::pin(send(number));
        let begun = until(|| door.store.begun() == number + 1);
        tokio::select! {
            answer = &mut request => panic!("{answer:?}"),
            () = begun => {}
        }
        if number % 2 == 0 {
            others.push(request);
        }
    }
    connection.abort();
    drop((others, sender));
    assert_charged(&door, address).await;
}
