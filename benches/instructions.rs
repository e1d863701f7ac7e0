//! Instructions per request, counted by callgrind: `scripts/instructions`.
//!
//! Runs one variant a given number of times. Callgrind counts only what happens inside
//! [`measured`].

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

mod support;

use std::{convert::Infallible, hint::black_box};

use http::Request;
use support::{NoOp, PassThrough, Setup, call, request};
use tower_layer::Layer;
use tower_service::Service;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let (Some(variant), Some(times)) = (arguments.next(), arguments.next()) else {
        return; // Started by `cargo bench` for all benches: there is nothing to time here.
    };
    let times: usize = times.parse().unwrap();

    let setup = Setup::new();
    let empty = NoOp { with_headers: false, dispose: support::keep };
    let with_headers = NoOp { with_headers: true, dispose: support::keep };
    let forged = support::forged();
    let (sealed, sealed_key) = setup.sealed(empty, 1);
    let key = match variant.as_str() {
        "unknown" | "unknown-cached" => Some(setup.unknown.as_str()),
        "malformed" => Some("key_this-is-not-one-of-our-keys"),
        "missing" => None,
        "sealed" => Some(sealed_key.as_str()),
        "forged" => Some(forged.as_str()),
        _ => Some(setup.valid.as_str()),
    };
    let requests: Vec<_> = (0..times).map(|_| request(key)).collect();
    macro_rules! run {
        ($service:expr) => {{
            let mut service = $service;
            for request in requests {
                black_box(measured(&mut service, request));
                support::take_kept();
            }
        }};
    }
    match variant.as_str() {
        "bare" => run!(PassThrough(empty)),
        "bare-with-headers" => run!(PassThrough(with_headers)),
        "floor" => run!(setup.floor(empty)),
        "lenient" => run!(setup.lenient(empty)),
        "cache-headers" => run!(setup.layer().layer(empty)),
        "cache-headers-with-headers" => run!(setup.layer().layer(with_headers)),
        "valid" | "unknown" | "malformed" | "missing" => run!(setup.layered(empty)),
        "sealed" | "forged" => run!(sealed),
        "limited" => run!(setup.limited(empty, false)),
        "limited-fields" => run!(setup.limited(empty, true)),
        "counting" => run!(setup.counting(empty)),
        "cached" | "unknown-cached" => run!(setup.cached(empty)),
        other => panic!("no variant {other}"),
    }
}

#[inline(never)]
fn measured<S>(service: &mut S, request: Request<()>) -> S::Response
where
    S: Service<Request<()>, Error = Infallible>,
{
    call(service, request)
}
