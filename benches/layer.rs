//! Time per request: the layer beside the bare service and beside the floor.
//!
//! `cargo bench --bench layer`. Compare lines of one run, never of two.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

mod support;

use std::{convert::Infallible, hint::black_box, mem};

use criterion::{BatchSize, BenchmarkGroup, Criterion, measurement::WallTime};
use http::{Request, Response};
use support::{
    Body, NoOp, PassThrough, Setup, call, forged, keep, request, sealed_format, take_kept,
};
use tower_api_key::KeyFormat;
use tower_layer::Layer;
use tower_service::Service;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let setup = Setup::new();
    let empty = NoOp { with_headers: false, dispose: keep };
    let with_headers = NoOp { with_headers: true, dispose: keep };

    let mut group = criterion.benchmark_group("valid key");
    let key = setup.valid.as_str();
    time_admitted(&mut group, "bare service", PassThrough(empty), key);
    time_admitted(&mut group, "floor", setup.floor(empty), key);
    time_admitted(&mut group, "layer", setup.layered(empty), key);
    time_admitted(&mut group, "lenient layer, one source", setup.lenient(empty), key);
    let (sealed, sealed_key) = setup.sealed(empty, 1);
    time_admitted(&mut group, "layer, sealed keys", sealed, &sealed_key);
    let (sealed, sealed_key) = setup.sealed(empty, 2);
    time_admitted(&mut group, "layer, sealed keys, under the second secret", sealed, &sealed_key);
    time_admitted(&mut group, "layer over a cache", setup.cached(empty), key);
    time_admitted(&mut group, "the same, uses counted", setup.counting(empty), key);
    time_admitted(&mut group, "the same, a local limit", setup.limited(empty, false), key);
    #[cfg(feature = "redis")]
    if let Some(service) = setup.leased(empty) {
        time_admitted(&mut group, "the same, a leased limit", service, key);
    }
    time_admitted(
        &mut group,
        "the same, a local limit and its fields",
        setup.limited(empty, true),
        key,
    );
    group.finish();

    let mut group = criterion.benchmark_group("valid key, cache headers");
    time_admitted(&mut group, "response without headers", setup.layer().layer(empty), key);
    time_admitted(&mut group, "bare, with headers", PassThrough(with_headers), key);
    time_admitted(&mut group, "response with headers", setup.layer().layer(with_headers), key);
    group.finish();

    let mut group = criterion.benchmark_group("denied, and the request freed");
    let inner = NoOp { with_headers: false, dispose: drop };
    let malformed = "key_this-is-not-one-of-our-keys";
    time_freed(&mut group, "bare service", PassThrough(inner), Some(key));
    time_freed(&mut group, "unknown", setup.layered(inner), Some(&setup.unknown));
    time_freed(&mut group, "unknown, in a cache", setup.cached(inner), Some(&setup.unknown));
    time_freed(&mut group, "malformed", setup.layered(inner), Some(malformed));
    let forged = forged();
    time_freed(&mut group, "forged, one secret", setup.sealed(inner, 1).0, Some(&forged));
    time_freed(&mut group, "forged, three secrets", setup.sealed(inner, 3).0, Some(&forged));
    time_freed(&mut group, "missing", setup.layered(inner), None);
    group.finish();

    // Step 4 alone.
    let mut group = criterion.benchmark_group("parsed");
    let plain = KeyFormat::new("key").unwrap();
    for (name, format, key) in [
        ("checksum", plain, setup.valid.as_str()),
        ("seal", sealed_format(1), sealed_key.as_str()),
        ("forged seal, one secret", sealed_format(1), forged.as_str()),
        ("forged seal, three secrets", sealed_format(3), forged.as_str()),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&format).recognizes(black_box(key)));
        });
    }
    group.finish();

    criterion.final_summary();
}

/// One request again and again, as the inner service gives it back: the measured code is warm and
/// free of the heap's moods. Taking the identity out of it again costs every line but the bare
/// service's the same.
fn time_admitted<S>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut service: S, key: &str)
where
    S: Service<Request<()>, Response = Response<Body>, Error = Infallible>,
{
    let mut next = request(Some(key));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let this = mem::take(&mut next);
            let response = black_box(call(&mut service, this));
            next = take_kept().expect("the request was admitted");
            response
        });
    });
}

/// A new request each time, freed with its answer.
fn time_freed<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut service: S,
    key: Option<&str>,
) where
    S: Service<Request<()>, Response = Response<Body>, Error = Infallible>,
{
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || request(key),
            |request| black_box(call(&mut service, request)),
            BatchSize::SmallInput,
        );
    });
}
