//! Allocations for each request through each stack: `allocations [--json FILE]`.
//!
//! A program of its own, since counting takes time.

use std::{convert::Infallible, fs};

use allocation_counter::measure;
use http::{Request, Response};
use peers::{
    arguments,
    inner::take_kept,
    keys::Keys,
    ours,
    requests::request,
    stack::{Outcome, Stack, Visitor, visit},
};
use serde_json::{Map, Value};
use tower_service::Service;

const TIMES: u64 = 100;

fn main() {
    let keys = Keys::new(1_000);
    let mut counts = Map::new();
    for stack in Stack::all() {
        for outcome in Outcome::ALL.into_iter().filter(|outcome| stack.has(*outcome)) {
            let counting = Counting { stack, outcome, keys: &keys };
            let Some(count) = visit(stack, &keys, counting) else { continue };
            let name = format!("{}/{}", stack.name(), outcome.name());
            println!("{name:32} {count:5.2}");
            counts.insert(name, Value::from(count));
        }
    }
    if let Some(file) = arguments::option("--json") {
        let text = serde_json::to_string_pretty(&counts).expect("JSON");
        fs::write(&file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

struct Counting<'k> {
    stack: Stack,
    outcome: Outcome,
    keys: &'k Keys,
}

impl Visitor for Counting<'_> {
    type Output = f64;

    fn visit<S, B, R>(self, mut service: S, key: Option<String>) -> f64
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Default + Send + 'static,
    {
        let Self { stack, outcome, keys } = self;
        let unknown = keys.unknown();
        let next = || {
            let text = match outcome {
                Outcome::Valid => Some(key.clone().unwrap_or_else(|| keys.sent()[0].clone())),
                Outcome::Missing => None,
                Outcome::Malformed => Some("key_this-is-not-one-of-our-keys".to_owned()),
                Outcome::Forged => Some(ours::forged()),
                Outcome::Unknown => Some(unknown.clone()),
                Outcome::NewUnknown => Some(keys.unknown()),
            };
            request(stack.carrier(), text.as_deref()).map(|()| B::default())
        };
        let handle = keys.runtime().handle();
        let mut total = 0;
        for number in 0..10 + TIMES {
            let request = next();
            let mut answered = None;
            let counted = measure(|| answered = Some(handle.block_on(service.call(request))));
            assert!(
                answered.is_some_and(|answer| answer.is_ok_and(|r| r.status() == outcome.status()))
            );
            take_kept();
            // Without what is loaded at first.
            if number >= 10 {
                total += counted.count_total;
            }
        }
        total as f64 / TIMES as f64
    }
}
