//! `Retry-After` holds requests back, for a while.

use std::{convert::Infallible, task::Poll, time::Duration};

use futures_util::{FutureExt, future::join_all};
use http::{Request, Response};
use tokio::{
    runtime,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{Timestamp, clock::SettableClock};

use crate::support::{Answers, KEY, ORIGIN, X_API_KEY, get, layer, send};

/// A server that answers with this status and these fields while the path is `/busy`.
fn busy(status: u16, fields: &[(&'static str, &'static str)]) -> Answers {
    let fields = fields.to_vec();
    Answers::new(move |seen| {
        let mut response = Response::new(String::new());
        if seen.target.ends_with("/busy") {
            *response.status_mut() = status.try_into().unwrap();
            for (name, value) in &fields {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
        }
        response
    })
}

fn get_busy() -> Request<String> {
    get("https://api.example.com/busy")
}

const SENT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:47 GMT";

#[tokio::test(start_paused = true)]
async fn later_requests_wait_as_long_as_the_server_asks() {
    let clock = SettableClock::new("1994-11-06T08:49:40Z".parse::<Timestamp>().unwrap());
    for (status, fields, seconds) in [
        (429, &[("retry-after", "10")][..], 10),
        (503, &[("retry-after", "10")], 10),
        (429, &[("retry-after", LATER), ("date", SENT)], 10),
        (503, &[("retry-after", LATER), ("date", SENT)], 10),
        (429, &[("retry-after", LATER)], 7),
        (429, &[("retry-after", SENT), ("date", LATER)], 0),
        (429, &[("retry-after", "0")], 0),
        (429, &[("retry-after", "30")], 30),
        // No longer than the bound.
        (429, &[("retry-after", "31")], 30),
        (503, &[("retry-after", "99999999999999999999")], 30),
        (503, &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), ("date", SENT)], 30),
        // Not asked for, or not readable.
        (429, &[], 0),
        (429, &[("retry-after", "soon")], 0),
        (429, &[("retry-after", "-10")], 0),
        (200, &[("retry-after", "10")], 0),
        (301, &[("retry-after", "10")], 0),
        (500, &[("retry-after", "10")], 0),
    ] {
        let (layer, answers) = (layer(&[ORIGIN]).with_clock(clock.clone()), busy(status, fields));
        let start = Instant::now();
        let first = send(&layer, &answers, get_busy()).await;
        assert_eq!((first.status().as_u16(), start.elapsed()), (status, Duration::ZERO));
        assert_eq!(first.headers().len(), fields.len(), "as the server sent it");
        for _ in 0..2 {
            assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 200);
        }
        let seen = answers.seen();
        let waited = seen.iter().map(|seen| (seen.at - start).as_secs()).collect::<Vec<_>>();
        assert_eq!(waited, [0, seconds, seconds], "{status} {fields:?}");
        assert!(seen.iter().all(|seen| seen.all(&X_API_KEY) == [KEY]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_bound_can_be_set() {
    for (bound, seconds) in [(0, 0), (5, 5), (60, 60), (3_600, 3_600), (u64::MAX, 3_600)] {
        let answers = busy(429, &[("retry-after", "1000000")]);
        let layer = layer(&[ORIGIN]).with_max_wait(Duration::from_secs(bound));
        let start = Instant::now();
        send(&layer, &answers, get_busy()).await;
        send(&layer, &answers, get(ORIGIN)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(seconds), "{bound}");
    }
}

/// Without a bound there is nothing to wait for, and no timer is needed.
#[test]
fn a_bound_of_zero_passes_over_the_pause_of_others() {
    let answers = busy(429, &[("retry-after", "10")]);
    let layer = layer(&[ORIGIN]);
    let send = |layer, request| send(layer, &answers, request).now_or_never();
    assert_eq!(send(&layer, get_busy()).unwrap().status(), 429);
    let none = layer.clone().with_max_wait(Duration::ZERO);
    assert_eq!(send(&none, get(ORIGIN)).unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn only_requests_with_the_key_to_that_origin_wait() {
    let answers = busy(429, &[("retry-after", "10")]);
    let layer = layer(&[ORIGIN, "https://other.example"]);
    let start = Instant::now();
    // Without the key, a response says nothing of it.
    send(&layer, &answers, get("https://evil.example/busy")).await;
    send(&layer, &answers, get_busy()).await;
    for uri in ["https://other.example", "https://evil.example", "http://api.example.com"] {
        send(&layer, &answers, get(uri)).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{uri}");
    }
    send(&layer, &answers, get(ORIGIN)).await;
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

/// All services of a layer, also with other settings.
#[tokio::test(start_paused = true)]
async fn services_of_a_layer_wait_alike() {
    let answers = busy(503, &[("retry-after", "10")]);
    let layer = layer(&[ORIGIN]);
    let other = layer.clone().with_bearer();
    send(&layer, &answers, get_busy()).await;
    let start = Instant::now();
    let (one, two) = (send(&layer, &answers, get(ORIGIN)), send(&other, &answers, get(ORIGIN)));
    tokio::join!(one, two);
    assert!(answers.seen()[1..].iter().all(|seen| seen.at - start == Duration::from_secs(10)));
}

/// Responses to requests that were sent before may ask for more and more.
#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_the_bound() {
    let client = layer(&[ORIGIN]).layer(service_fn(async |request: Request<String>| {
        let path = request.uri().path().trim_start_matches('/');
        sleep(Duration::from_secs(path.parse().unwrap_or(0))).await;
        let status = if path.is_empty() { 200 } else { 429 };
        let response = Response::builder().status(status).header("retry-after", "30");
        Ok::<_, Infallible>(response.body(String::new()).unwrap())
    }));
    let start = Instant::now();
    let get_at = |second, path: u64| {
        let client = client.clone();
        async move {
            sleep(Duration::from_secs(second)).await;
            let path = if path == 0 { String::new() } else { format!("/{path}") };
            client.oneshot(get(&format!("{ORIGIN}{path}"))).await.unwrap();
            start.elapsed().as_secs()
        }
    };
    // The server answers after these seconds, and asks for 30 more each time.
    let asking = [1, 15, 25].map(|path| get_at(0, path));
    let waiting = [2, 10, 20, 30].map(|second| get_at(second, 0));
    let (_, ends) = tokio::join!(join_all(asking), join_all(waiting));
    assert_eq!(ends, [32, 40, 50, 55]);
}

/// What the service has reserved for a request is free while that waits.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_keeps_no_place() {
    let answers = busy(429, &[("retry-after", "10")]);
    let service = ServiceBuilder::new().layer(layer(&[ORIGIN])).concurrency_limit(1);
    let mut client = service.service(answers);
    client.clone().oneshot(get_busy()).await.unwrap();
    let start = Instant::now();
    let ready = ServiceExt::<Request<String>>::ready(&mut client).await.unwrap();
    let held = ready.call(get(ORIGIN));
    let other = get("https://other.example");
    ServiceExt::<Request<String>>::ready(&mut client).await.unwrap().call(other).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    held.await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    client.oneshot(get(ORIGIN)).await.unwrap();
}

/// Nor does one that was queued for a slot when the server asked for another pause.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_again_keeps_no_slot() {
    let service = service_fn(async |request: Request<String>| {
        let mut response = Response::new(String::new());
        if request.uri().path() == "/busy" {
            sleep(Duration::from_secs(1)).await;
            *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert("retry-after", http::HeaderValue::from_static("10"));
        }
        Ok::<_, Infallible>(response)
    });
    let client =
        ServiceBuilder::new().layer(layer(&[ORIGIN])).concurrency_limit(1).service(service);
    let send = |request| client.clone().oneshot(request);
    let start = Instant::now();
    send(get_busy()).await.unwrap();
    // Both go on after 11 seconds, and the server asks for another pause after 12.
    let held = [(); 2].map(|()| tokio::spawn(send(get_busy())));
    sleep(Duration::from_millis(11_500)).await;
    send(get("https://other.example")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(12_500));
    let ends = join_all(held.map(|held| async move {
        held.await.unwrap().unwrap();
        start.elapsed().as_secs()
    }));
    assert_eq!(ends.await, [12, 23]);
}

/// A request is made in one place and awaited in another.
#[test]
fn a_request_that_waits_is_made_outside_of_a_runtime() {
    let mut runtime = runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let answers = busy(429, &[("retry-after", "10")]);
    let mut client = layer(&[ORIGIN]).layer(answers.clone());
    runtime.block_on(client.call(get_busy())).unwrap();
    let held = client.call(get(ORIGIN));
    assert_eq!(answers.seen().len(), 1);
    assert_eq!(runtime.block_on(held).unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_is_not_sent() {
    let answers = busy(429, &[("retry-after", "10")]);
    let layer = layer(&[ORIGIN]);
    send(&layer, &answers, get_busy()).await;
    answers.seen();
    let held = send(&layer, &answers, get(ORIGIN));
    assert!(timeout(Duration::from_secs(5), held).await.is_err());
    sleep(Duration::from_mins(1)).await;
    assert!(answers.seen().is_empty());
}

/// An error of the client while it gets ready again is the request's.
#[tokio::test(start_paused = true)]
async fn a_client_that_fails_meanwhile_is_an_error() {
    #[derive(Clone)]
    struct FailsOnce(std::sync::Arc<std::sync::atomic::AtomicUsize>);
    impl Service<Request<String>> for FailsOnce {
        type Response = Response<String>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Response<String>, &'static str>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), &'static str>> {
            let polls = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Poll::Ready(if polls < 2 { Ok(()) } else { Err("gone") })
        }

        fn call(&mut self, _: Request<String>) -> Self::Future {
            let response = Response::builder().status(429).header("retry-after", "10");
            std::future::ready(Ok(response.body(String::new()).unwrap()))
        }
    }
    let client = layer(&[ORIGIN]).layer(FailsOnce(std::sync::Arc::default()));
    client.clone().oneshot(get(ORIGIN)).await.unwrap();
    let start = Instant::now();
    assert_eq!(client.oneshot(get(ORIGIN)).await.unwrap_err(), "gone");
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}
