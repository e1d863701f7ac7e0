//! The warm path with a subscriber of `tracing` that wants spans of decisions, against none: a good key in memory,
//! in rounds by turns. The time of the bare service is taken off both.
//!
//! `cargo bench --bench spans`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/mode.rs"]
mod mode;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    io,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response};
use tower::{Layer, Service};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, Timestamp,
    key::KeyRecord,
    store::{KeyRepository, MemoryStore},
};
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::{filter::LevelFilter, fmt::format::FmtSpan};

const ROUNDS: usize = 41;
const KEY: &str = "key-of-this-bench-0123456789abcdef";

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

fn subscriber(level: LevelFilter) -> Dispatch {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(io::sink);
    Dispatch::new(subscriber.finish())
}

fn nanoseconds(service: &mut impl Service<Request<()>>, requests: u32) -> f64 {
    let mut request = Request::new(());
    request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
    let start = Instant::now();
    for _ in 0..requests {
        let response = service.call(black_box(request.clone())).now_or_never();
        let _ = black_box(response).unwrap();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(requests)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let now = Timestamp::from_unix_millis(1_795_392_000_000);
    let digest = KeyHasher::sha256().digest(KEY);
    let record = KeyRecord::new(KeyId::generate(now).unwrap(), digest, "key", now);
    let store = MemoryStore::new();
    store.insert(&record).now_or_never().unwrap().unwrap();
    let mut service = ApiKeyLayer::new(store).layer(Inner);
    let requests = if mode::measures() { 100_000 } else { 100 };
    let subscribers =
        [Dispatch::none(), subscriber(LevelFilter::INFO), subscriber(LevelFilter::TRACE)];
    let (mut bare, mut rounds) = (Vec::new(), [const { Vec::new() }; 3]);
    for _ in 0..ROUNDS {
        bare.push(nanoseconds(&mut Inner, requests));
        for (subscriber, figures) in subscribers.iter().zip(&mut rounds) {
            dispatcher::with_default(subscriber, || {
                figures.push(nanoseconds(&mut service, requests));
            });
        }
    }
    let bare = median(bare);
    let [without, ..] = rounds.clone();
    for (name, figures) in ["no subscriber", "INFO", "TRACE"].into_iter().zip(rounds) {
        let ratio = figures.iter().zip(&without).map(|(with, none)| (with - bare) / (none - bare));
        let ratio = median(ratio.collect());
        let time = median(figures) - bare;
        println!("{name:14} {time:7.1} ns a request, {ratio:.3} of no subscriber");
    }
}
