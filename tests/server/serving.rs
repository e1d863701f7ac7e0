//! The way of serving of the reference server and the sidecar, within this process: what takes a minute, on a clock that
//! skips it, and what needs clients from many addresses.

#[allow(dead_code, unreachable_pub, unused_imports, reason = "tests listen to nothing")]
#[path = "../../serving/src/connections/mod.rs"]
mod serve;

use std::{net::IpAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
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

const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the other end of a stream, until the sender is told to stop or dropped.
fn served(slot: Slot) -> (DuplexStream, watch::Sender<bool>) {
    served_by(Router::new().route("/", get(async || "here")), slot)
}

fn served_by(router: Router, slot: Slot) -> (DuplexStream, watch::Sender<bool>) {
    let (client, server) = duplex(64 * 1024);
    let peer = "192.0.2.1:1".parse().unwrap();
    let (stop, stopping) = watch::channel(false);
    let connection = Connection { peer, router, client_timeout: CLIENT_TIMEOUT, slot };
    tokio::spawn(connection.serve(server, protocols(CLIENT_TIMEOUT), stopping));
    (client, stop)
}

/// The client answers every ping, and keeps sending its own.
#[tokio::test(start_paused = true)]
async fn an_http_2_connection_without_a_request_ends_after_a_minute() {
    let slots = Slots::new(1, Vec::new());
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
async fn a_connection_that_asks_nothing_ends_with_the_timeout() {
    let slots = Slots::new(1, Vec::new());
    let (_client, _stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    let opened = Instant::now();
    slots.all_free().await;
    assert_eq!(opened.elapsed().as_secs(), CLIENT_TIMEOUT.as_secs());
}

/// A refused upload is taken from the network for a second, but not where there is too much to do.
#[tokio::test(start_paused = true)]
async fn uploads_are_not_drained_where_there_is_too_much_to_do() {
    for (status, seconds) in [(401, 1), (403, 1), (429, 0), (503, 0)] {
        let slots = Slots::new(1, Vec::new());
        let slot = slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!());
        let refuse = move || async move { StatusCode::from_u16(status).unwrap() };
        let router = Router::new().route("/", post(refuse));
        let (mut client, _stop) = served_by(router, slot);
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\nhalf")
            .await
            .unwrap();
        let sent = Instant::now();
        let mut answer = [0; b"HTTP/1.1 401".len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes());
        assert_eq!(sent.elapsed().as_secs(), seconds, "{status}");
        // To the end of the connection.
        client.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(sent.elapsed().as_secs(), seconds, "{status}");
        slots.all_free().await;
    }
}

/// A refused client could otherwise hold its slot with a body that does not come.
#[tokio::test(start_paused = true)]
async fn a_refused_upload_makes_way_at_once() {
    let slots = Slots::new(3, Vec::new());
    let refuse = || Router::new().route("/", post(async || StatusCode::FORBIDDEN));
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n";
    let (mut uploads, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let slot = slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!());
        let (mut client, stop) = served_by(refuse(), slot);
        client.write_all(head).await.unwrap();
        uploads.push(client);
        stops.push(stop);
    }
    // Their heads are read, and their bodies waited for.
    advance(Duration::from_millis(10)).await;
    let begun = Instant::now();
    let mut next = Vec::new();
    for _ in 0..3 {
        next.push(slots.take(ip("127.0.0.1")).await.unwrap());
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(slots.try_take(ip("127.0.0.1")).err(), Some(Refused::Full));
    for mut client in uploads {
        client.read_to_end(&mut Vec::new()).await.unwrap();
    }
    drop(next);
    slots.all_free().await;
}

/// And where there is a connection without a request, that one goes first, and the upload gets its answer.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_makes_way_before_a_refused_upload() {
    let slots = Slots::new(2, Vec::new());
    let (mut idle, _stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    let refuse = Router::new().route("/", post(async || StatusCode::FORBIDDEN));
    let slot = slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!());
    let (mut client, _stop) = served_by(refuse, slot);
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n";
    client.write_all(head).await.unwrap();
    advance(Duration::from_millis(10)).await;
    drop(slots.take(ip("192.0.2.9")).await.unwrap());
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 403"), "{}", answer.escape_ascii());
    slots.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_makes_way_last() {
    let slots = Slots::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
    let (mut proxy, _stop) = served(slots.try_take(ip("10.0.0.1")).unwrap_or_else(|_| panic!()));
    advance(Duration::from_secs(1)).await;
    let (mut client, _stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    let next = slots.take(ip("192.0.2.2")).await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "it came later, and goes first");
    let closed = tokio::time::timeout(Duration::from_secs(1), proxy.read(&mut [0])).await;
    assert!(closed.is_err(), "the proxy has to go: {closed:?}");
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_waited_for_when_the_server_stops() {
    let slots = Slots::new(1, Vec::new());
    let (_client, stop) = served(slots.try_take(ip("192.0.2.1")).unwrap_or_else(|_| panic!()));
    stop.send_replace(true);
    let stopped = Instant::now();
    slots.all_free().await;
    assert!(stopped.elapsed() <= Duration::from_secs(1), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn an_address_has_64_and_this_machine_all() {
    let slots = Slots::new(200, Vec::new());
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

/// Whoever has a network has all of its addresses.
#[test]
fn an_ipv6_network_has_64() {
    let slots = Slots::new(200, Vec::new());
    let take = |address: &str| slots.try_take(ip(address));
    let mut held: Vec<_> = (0..MAX_OF_ADDRESS)
        .map(|n| take(&format!("2001:db8:0:1:{n:x}::{n:x}")).ok().unwrap())
        .collect();
    for same in ["2001:db8:0:1::", "2001:db8:0:1:ffff:ffff:ffff:ffff"] {
        assert_eq!(take(same).err(), Some(Refused::Address));
    }
    held.push(take("2001:db8:0:2::").ok().unwrap());
    held.push(take("2001:db8:0:0:ffff:ffff:ffff:ffff").ok().unwrap());
    held.swap_remove(0);
    held.push(take("2001:db8:0:1::1").ok().unwrap());
    assert_eq!(take("2001:db8:0:1::1").err(), Some(Refused::Address));
}

#[test]
fn trusted_proxies_have_all() {
    let networks = ["10.0.0.0/8", "2001:db8:7::/48", "::ffff:172.16.0.0/108"]
        .map(|network| network.parse().unwrap());
    let slots = Slots::new(1000, networks.to_vec());
    let take = |address: &str| slots.try_take(ip(address));
    let mut held = Vec::new();
    for proxy in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:7::1", "172.16.0.1"] {
        held.extend((0..2 * MAX_OF_ADDRESS).map(|_| take(proxy).ok().unwrap()));
    }
    for other in ["11.0.0.1", "2001:db8:8::1"] {
        held.extend((0..MAX_OF_ADDRESS).map(|_| take(other).ok().unwrap()));
        assert_eq!(take(other).err(), Some(Refused::Address));
    }
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_is_idle_for_longest_makes_way() {
    let slots = Slots::new(3, Vec::new());
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

/// Larger than what is on its way without the client: the stream's 64 KiB, or its window.
const LARGE: usize = 300_000;

fn served_large(slot: Slot) -> (DuplexStream, watch::Sender<bool>) {
    served_by(Router::new().route("/", get(async || "a".repeat(LARGE))), slot)
}

/// The server has made all of the answer, and the client has not taken it yet.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_written_makes_no_way() {
    let slots = Slots::new(1, Vec::new());
    let (mut client, _stop) = served_large(slots.take(ip("192.0.2.1")).await.unwrap());
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut begin = [0; b"HTTP/1.1 200".len()];
    client.read_exact(&mut begin).await.unwrap();
    let next = tokio::spawn({
        let slots = slots.clone();
        async move { slots.take(ip("192.0.2.9")).await.unwrap() }
    });
    tokio::time::sleep(CLIENT_TIMEOUT / 2).await;
    assert!(!next.is_finished());
    // Only once the answer is written, the connection is idle.
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let body = answer.iter().rev().take_while(|byte| **byte == b'a').count();
    assert_eq!(body, LARGE);
    drop(next.await.unwrap());
    slots.all_free().await;
}

/// The same over HTTP/2, where the client says how much it takes.
#[tokio::test(start_paused = true)]
async fn over_http_2_an_answer_that_is_still_written_makes_no_way() {
    let slots = Slots::new(1, Vec::new());
    let (client, _stop) = served_large(slots.take(ip("192.0.2.1")).await.unwrap());
    // All but the end of the answer fits.
    let window = u32::try_from(LARGE - 1_000).unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(2 * window)
        .handshake(TokioIo::new(client))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/").body(Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let next = tokio::spawn({
        let slots = slots.clone();
        async move { slots.take(ip("192.0.2.9")).await.unwrap() }
    });
    tokio::time::sleep(CLIENT_TIMEOUT / 2).await;
    assert!(!next.is_finished());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), LARGE);
    drop(next.await.unwrap());
    let _ = connection.await.unwrap();
    slots.all_free().await;
}

/// A client that takes nothing of it is waited for as long as any other.
#[tokio::test(start_paused = true)]
async fn an_answer_that_no_client_takes_ends_with_the_timeout() {
    let slots = Slots::new(1, Vec::new());
    let (mut client, _stop) = served_large(slots.take(ip("192.0.2.1")).await.unwrap());
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let sent = Instant::now();
    slots.all_free().await;
    assert_eq!(sent.elapsed().as_secs(), CLIENT_TIMEOUT.as_secs());
}

/// Other requests on the connection do not keep it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_ends_with_the_timeout_whatever_else_goes_on() {
    let slots = Slots::new(1, Vec::new());
    let (client, _stop) = served_large(slots.take(ip("192.0.2.1")).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1_000)
        .handshake(TokioIo::new(client))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = || Request::get("http://x/").body(Body::empty()).unwrap();
    let begun = Instant::now();
    let _untaken = sender.send_request(request()).await.unwrap();
    while !connection.is_finished() && begun.elapsed() < 3 * CLIENT_TIMEOUT {
        // Each is given up at once.
        let _ = sender.send_request(request()).await;
        tokio::time::sleep(CLIENT_TIMEOUT / 7).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(
        (CLIENT_TIMEOUT.as_secs_f64()..1.5 * CLIENT_TIMEOUT.as_secs_f64()).contains(&seconds),
        "{seconds}"
    );
    slots.all_free().await;
}
