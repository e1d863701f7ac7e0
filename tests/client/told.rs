//! Events and metrics of a client. Each test has a process of its own: `tracing` remembers for the
//! whole process whether an event is listened to.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::client::{AttachApiKeyLayer, ClientKey};
use tracing_subscriber::{filter::LevelFilter, util::SubscriberInitExt};

use crate::{
    child,
    figures::Figures,
    log::Log,
    support::{Answers, Folder, KEY, ORIGIN, OTHER_KEY, get, get_empty, key, layer, send, serve},
};

const ENDS: &str = "is going to end";

#[tokio::test(start_paused = true)]
async fn the_end_of_a_key_is_told_once_an_hour() {
    if !child::is_child() {
        child::run("told::the_end_of_a_key_is_told_once_an_hour", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();
    let answers = Answers::new(|_| {
        let response = Response::builder()
            .header("deprecation", "@1688169599")
            .header("sunset", "Sun, 11 Nov 2018 23:59:59 GMT");
        response.body(String::new()).unwrap()
    });
    let layer = layer(&[ORIGIN, "https://other.example"]);
    for _ in 0..20 {
        send(&layer, &answers, get(ORIGIN)).await;
        send(&layer, &answers, get("https://evil.example")).await;
    }
    assert_eq!(log.count("WARN", ENDS), 1, "{}", log.text());
    let told = "origin=https://api.example.com deprecation=2023-06-30T23:59:59.000Z \
                sunset=2018-11-11T23:59:59.000Z";
    assert_eq!(log.count("WARN", told), 1, "{}", log.text());
    send(&layer, &answers, get("https://other.example")).await;
    assert_eq!(log.count("WARN", ENDS), 2);
    for (minutes, warnings) in [(59, 2), (1, 3)] {
        sleep(Duration::from_mins(minutes)).await;
        send(&layer, &answers, get(ORIGIN)).await;
        assert_eq!(log.count("WARN", ENDS), warnings, "{}", log.text());
    }
}

/// Also if a server says something else each time, repeats the key, or writes to a terminal.
#[tokio::test(start_paused = true)]
async fn a_server_cannot_write_into_the_log() {
    if !child::is_child() {
        child::run("told::a_server_cannot_write_into_the_log", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();
    let answers = Answers::new(|seen| {
        let key = seen.headers["x-api-key"].clone();
        let mut response = Response::new(String::new());
        response.headers_mut().insert("deprecation", key);
        let text = [b"\x9b31m forged ", seen.target.as_bytes()].concat();
        let text = http::HeaderValue::from_bytes(&text).unwrap();
        response.headers_mut().insert("sunset", text);
        response
    });
    let layer = layer(&[ORIGIN]);
    for number in 0..100 {
        send(&layer, &answers, get(&format!("{ORIGIN}/{number}"))).await;
    }
    let text = log.text();
    assert_eq!(log.count("WARN", ENDS), 1, "{text}");
    assert!(text.contains("deprecation=unreadable sunset=unreadable"), "{text}");
    assert!(!text.contains(KEY) && !text.contains("forged"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_origin_is_told_once() {
    if !child::is_child() {
        child::run("told::a_request_without_an_origin_is_told_once", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();
    let layer = layer(&[ORIGIN]);
    send(&layer, &Answers::well(), get("https://other.example")).await;
    assert_eq!(log.count("WARN", ""), 0, "{}", log.text());
    for _ in 0..3 {
        send(&layer, &Answers::well(), get("/orders")).await;
        send(&layer.clone().with_bearer(), &Answers::well(), get("/orders")).await;
    }
    assert_eq!(log.count("WARN", "with_default_origin"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_told_when_it_begins() {
    if !child::is_child() {
        child::run("told::a_pause_is_told_when_it_begins", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();
    let client = layer(&[ORIGIN]).layer(service_fn(async |_: Request<String>| {
        sleep(Duration::from_secs(1)).await;
        let response = Response::builder().status(429).header("retry-after", "90");
        Ok::<_, Infallible>(response.body(String::new()).unwrap())
    }));
    // A warning once a minute: they begin after 1, 32 and 63 seconds.
    for (warnings, others) in [(1, 0), (1, 1), (2, 1)] {
        let (one, two) =
            tokio::join!(client.clone().oneshot(get(ORIGIN)), client.clone().oneshot(get(ORIGIN)));
        assert!(one.unwrap().status() == 429 && two.unwrap().status() == 429);
        let told = |level| log.count(level, "origin=https://api.example.com asked=90s wait=30s");
        assert_eq!((told("WARN"), told("DEBUG")), (warnings, others), "{}", log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_shows_in_the_log_and_in_metrics() {
    if !child::is_child() {
        child::run("told::a_bad_file_shows_in_the_log_and_in_metrics", None);
        return;
    }
    // For all threads: files are read where that blocks no other task.
    let (log, figures) = (Log::default(), Arc::new(Figures::default()));
    log.subscriber(LevelFilter::INFO).init();
    metrics::set_global_recorder(figures.clone()).unwrap();
    let folder = Folder::new();
    let label = format!("{{path={}}}", folder.path("key").display());
    let read = || {
        (
            figures.gauge(&format!("tower_api_key_client_key_current{label}")),
            figures.counter(&format!("tower_api_key_client_key_loads_failed_total{label}")),
            log.count("INFO", "is read from its file"),
            log.count("WARN", "the last good one stays"),
        )
    };
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    assert_eq!(read(), (1, 0, 1, 0), "{}", log.text());
    folder.write(format!("{OTHER_KEY} and more"));
    // Told once, however long it stays.
    sleep(Duration::from_mins(1)).await;
    assert_eq!(read(), (0, 1, 1, 1), "{}", log.text());
    std::fs::remove_file(folder.path("key")).unwrap();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(read(), (0, 2, 1, 2), "{}", log.text());
    folder.write(OTHER_KEY);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(read(), (1, 2, 2, 2), "{}", log.text());
    assert!(key.file_error().is_none());
    for secret in [KEY, OTHER_KEY] {
        assert!(!log.text().contains(secret), "{}", log.text());
    }
}

/// At any level, over either protocol, by the crates beneath as well.
#[tokio::test]
async fn no_event_holds_the_key() {
    if !child::is_child() {
        child::run("told::no_event_holds_the_key", None);
        return;
    }
    // For all threads: files are read where that blocks no other task.
    let log = Log::default();
    log.subscriber(LevelFilter::TRACE).init();
    let answers = Answers::new(|seen| {
        let status = if seen.target == "/refused" { 401 } else { 200 };
        Response::builder().status(status).body(String::new()).unwrap()
    });
    let origin = serve(answers.clone()).await;
    let folder = Folder::new();
    let file = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    for key in [key(), file.clone()] {
        let layer = AttachApiKeyLayer::new(key, [&origin]).unwrap();
        for layer in [layer.clone(), layer.with_bearer()] {
            for is_http2 in [false, true] {
                let client = Client::builder(TokioExecutor::new())
                    .http2_only(is_http2)
                    .build_http::<Full<Bytes>>();
                for path in ["/orders", "/refused"] {
                    let request = get_empty(&format!("{origin}{path}"));
                    layer.layer(client.clone()).oneshot(request).await.unwrap();
                }
            }
        }
    }
    assert_eq!(answers.seen().len(), 16);
    folder.write(OTHER_KEY);
    file.reload().await.unwrap();
    folder.write(format!("{KEY} {OTHER_KEY}"));
    file.reload().await.unwrap_err();
    let text = log.text();
    assert!(text.contains("read from its file"), "other threads are heard: {text}");
    assert!(text.contains("the last good one stays"), "{text}");
    assert!(text.contains("hyper") && text.contains("h2"), "the crates beneath are heard: {text}");
    for key in [KEY, OTHER_KEY] {
        assert!(!text.contains(key) && !text.contains(&key[key.len() - 12..]), "{text}");
    }
}
