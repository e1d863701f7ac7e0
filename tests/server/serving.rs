//! The reference server's way of serving, within this process: what takes a minute, on a clock that
//! skips it, and what needs clients from many addresses.

#[allow(dead_code, unused_imports, reason = "tests listen to nothing")]
#[path = "../../examples/server/serve/mod.rs"]
mod serve;

use std::{net::IpAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{DuplexStream, duplex},
    sync::watch,
    time::{Instant, advance},
};

use self::serve::{
    connection::{Connection, protocols},
    slots::{MAX_OF_ADDRESS, Refused, Slot, Slots},
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the other end of a stream, until the sender is told to stop or dropped.
fn served(slot: Slot) -> (DuplexStream, watch::Sender<bool>) {
    let (client, server) = duplex(64 * 1024);
    let router = Router::new().route("/", get(async || "here"));
    let peer = "192.0.2.1:1".parse().unwrap();
    let (stop, stopping) = watch::channel(false);
    let connection = Connection { peer, router, patience: PATIENCE, slot };
    tokio::spawn(connection.serve(server, protocols(PATIENCE), stopping));
    (client, stop)
}

/// The client answers every ping, and keeps sending its own.
#[tokio::test(start_paused = true)]
async fn an_http_2_connection_without_a_request_ends_after_a_minute() {
    let slots = Slots::new(1);
    let (client, _stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(client))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    // A request now and then keeps it.
    for pause in [0, 50, 50] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let request = Request::get("http://x/").body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "here");
    }
    let idle = Instant::now();
    let _ = connection.await.unwrap();
    let seconds = idle.elapsed().as_secs();
    assert!((60..=61).contains(&seconds), "{seconds} s");
    slots.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_ends_with_the_patience() {
    let slots = Slots::new(1);
    let (_client, _stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    let opened = Instant::now();
    slots.all_free().await;
    assert_eq!(opened.elapsed().as_secs(), PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_waited_for_when_the_server_stops() {
    let slots = Slots::new(1);
    let (_client, stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    stop.send_replace(true);
    let stopped = Instant::now();
    slots.all_free().await;
    assert!(stopped.elapsed() <= Duration::from_secs(1), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn an_address_has_64_and_this_machine_all() {
    let slots = Slots::new(200);
    let take = |address: &str| slots.try_take(ip(address));
    let mut held: Vec<_> = (0..MAX_OF_ADDRESS).map(|_| take("192.0.2.1").ok().unwrap()).collect();
    for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
        assert_eq!(take(same).err(), Some(Refused::Address));
        assert!(slots.take(ip(same)).await.is_none());
    }
    held.push(take("192.0.2.2").ok().unwrap());
    // One that leaves makes room for one.
    held.swap_remove(0);
    held.push(take("192.0.2.1").ok().unwrap());
    assert_eq!(take("192.0.2.1").err(), Some(Refused::Address));
    for local in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        held.extend((0..30).map(|_| take(local).ok().unwrap()));
    }
    held.extend((0..200 - held.len()).map(|_| take("127.0.0.1").ok().unwrap()));
    assert_eq!(take("127.0.0.1").err(), Some(Refused::Full));
    assert_eq!(take("192.0.2.3").err(), Some(Refused::Full));
    drop(held);
    slots.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_is_idle_for_longest_makes_way() {
    let slots = Slots::new(3);
    let (mut clients, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (client, stop) = served(slots.take(ip("192.0.2.1")).await.unwrap());
        clients.push(client);
        stops.push(stop);
        advance(Duration::from_secs(1)).await;
    }
    // The first is the oldest of all, and has just asked.
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(clients.remove(0))).await.unwrap();
    let first = tokio::spawn(connection);
    let request = Request::get("/").header("host", "x").body(Body::empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);

    let next = slots.take(ip("192.0.2.9")).await.unwrap();
    assert!(!first.is_finished());
    // The second is gone: its end of the stream is closed.
    let mut second = clients.remove(0);
    let mut byte = [0];
    assert_eq!(tokio::io::AsyncReadExt::read(&mut second, &mut byte).await.unwrap(), 0);
    drop(next);
}
