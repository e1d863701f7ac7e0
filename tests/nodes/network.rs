//! The proxy itself: a test that trusts it would otherwise show nothing.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{proxy::Proxy, watched::TIMEOUT};

/// A proxy in front of a server that says everything again.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("echo://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::before(&url)
}

async fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(proxy.url().trim_start_matches("echo://").trim_end_matches('/')).await
}

async fn hear(stream: &mut TcpStream) -> std::io::Result<u8> {
    timeout(TIMEOUT, stream.read_u8()).await.expect("an answer, or its end")
}

#[tokio::test]
async fn lets_through_and_closes_with_either_side() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await.unwrap();
    stream.write_u8(7).await.unwrap();
    assert_eq!(hear(&mut stream).await.unwrap(), 7);
    stream.shutdown().await.unwrap();
    assert_eq!(hear(&mut stream).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn cuts_what_is_there_and_refuses_what_comes() {
    let mut proxy = echo().await;
    for _ in 0..20 {
        let mut stream = connect(&proxy).await.unwrap();
        stream.write_u8(7).await.unwrap();
        assert_eq!(hear(&mut stream).await.unwrap(), 7);
        proxy.cut().await;
        assert!(stream.read_u8().now_or_never().is_some_and(|read| read.is_err()), "still open");
        assert_eq!(connect(&proxy).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        proxy.pass();
    }
}

#[tokio::test]
async fn freezes_and_thaws() {
    let mut proxy = echo().await;
    let mut old = connect(&proxy).await.unwrap();
    old.write_u8(1).await.unwrap();
    assert_eq!(hear(&mut old).await.unwrap(), 1);
    proxy.freeze();
    let mut new = connect(&proxy).await.unwrap();
    for stream in [&mut old, &mut new] {
        stream.write_u8(2).await.unwrap();
    }
    // Longer than it takes when nothing holds it back, by far.
    assert!(timeout(Duration::from_millis(200), old.read_u8()).await.is_err());
    assert!(timeout(Duration::from_millis(1), new.read_u8()).await.is_err());
    proxy.pass();
    for stream in [&mut old, &mut new] {
        assert_eq!(hear(stream).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn delays_each_way_and_all_at_once() {
    const DELAY: Duration = Duration::from_millis(200);
    let mut proxy = echo().await;
    proxy.delay(DELAY);
    let mut stream = connect(&proxy).await.unwrap();
    let began = Instant::now();
    for number in 0..50 {
        stream.write_u8(number).await.unwrap();
        // So that they go one by one.
        tokio::task::yield_now().await;
    }
    for number in 0..50 {
        assert_eq!(hear(&mut stream).await.unwrap(), number);
    }
    let took = began.elapsed();
    assert!(took >= 2 * DELAY, "{took:?}");
    assert!(took < 50 * DELAY, "{took:?}: one after the other");
}
