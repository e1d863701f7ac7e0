//! Time per request: the layer beside the bare service and beside the floor.
//!
//! `cargo bench --bench layer`. Compare lines of one run, never of two.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

mod support;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkGroup, Criterion, measurement::WallTime};
use http::{Request, Response, StatusCode};
use support::{Body, NoOp, PassThrough, Setup, call, request};
use tower_layer::Layer;
use tower_service::Service;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let setup = Setup::new();
    let empty = NoOp { with_headers: false, dispose: drop };
    let with_headers = NoOp { with_headers: true, dispose: drop };

    let mut group = criterion.benchmark_group("valid key");
    let valid = Some(setup.valid.as_str());
    time(&mut group, "bare service", PassThrough(empty), valid, StatusCode::OK);
    time(&mut group, "floor", setup.floor(empty), valid, StatusCode::OK);
    time(&mut group, "layer", setup.layered(empty), valid, StatusCode::OK);
    time(&mut group, "lenient layer, one source", setup.lenient(empty), valid, StatusCode::OK);
    group.finish();

    let mut group = criterion.benchmark_group("valid key, cache headers");
    let safe = setup.layer().layer(empty);
    time(&mut group, "response without headers", safe, valid, StatusCode::OK);
    time(&mut group, "bare, with headers", PassThrough(with_headers), valid, StatusCode::OK);
    let safe = setup.layer().layer(with_headers);
    time(&mut group, "response with headers", safe, valid, StatusCode::OK);
    group.finish();

    let mut group = criterion.benchmark_group("denied");
    let denied = StatusCode::UNAUTHORIZED;
    time(&mut group, "unknown", setup.layered(empty), Some(&setup.unknown), denied);
    let malformed = Some("key_this-is-not-one-of-our-keys");
    time(&mut group, "malformed", setup.layered(empty), malformed, denied);
    time(&mut group, "missing", setup.layered(empty), None, denied);
    group.finish();

    criterion.final_summary();
}

fn time<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut service: S,
    key: Option<&str>,
    expected: StatusCode,
) where
    S: Service<Request<()>, Response = Response<Body>, Error = std::convert::Infallible>,
{
    assert_eq!(call(&mut service, request(key)).status(), expected, "{name}");
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || request(key),
            |request| black_box(call(&mut service, request)),
            BatchSize::SmallInput,
        );
    });
}
