//! One stack so many times, for a program that counts the instructions inside of [`measured`].
//!
//! `instructions STACK[/OUTCOME] TIMES`, such as `instructions cached/unknown 1000`. Requests are
//! made before, and freed after, but for those that are denied: `instructions freed TIMES` is what
//! that takes.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use http::{Request, Response};
use peers::{
    drive::call,
    inner::take_kept,
    keys::Keys,
    ours,
    requests::request,
    stack::{Outcome, Stack, Visitor, visit},
};
use tower_service::Service;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(variant), Some(times)) = (arguments.next(), arguments.next()) else {
        eprintln!("instructions STACK[/OUTCOME] TIMES, of these:");
        for stack in Stack::all() {
            for outcome in Outcome::ALL.into_iter().filter(|outcome| stack.has(*outcome)) {
                eprintln!("  {}/{}", stack.name(), outcome.name());
            }
        }
        std::process::exit(2);
    };
    if variant == "freed" {
        for _ in 0..times.parse().unwrap_or(0) {
            black_box(measured(&mut Freeing, request(Stack::Bare.carrier(), Some(KEY))));
        }
        return;
    }
    let (name, outcome) = variant.split_once('/').unwrap_or((&variant, "valid"));
    let stack = Stack::named(name).unwrap_or_else(|| panic!("no stack {name}"));
    let outcome = Outcome::ALL.into_iter().find(|other| other.name() == outcome);
    let outcome = outcome.unwrap_or_else(|| panic!("no outcome in {variant}"));
    let times = times.parse().unwrap_or_else(|_| panic!("{times}: no number"));
    let keys = Keys::new(1_000);
    let counting = Counting { stack, outcome, times, keys: &keys };
    visit(stack, &keys, counting).expect("all that the stack needs");
}

/// Of the length of every key here.
const KEY: &str = "key_0123456789012345678901234567890123456789";

/// Frees its request and answers nothing.
struct Freeing;

impl<B> Service<Request<B>> for Freeing {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

struct Counting<'k> {
    stack: Stack,
    outcome: Outcome,
    times: usize,
    keys: &'k Keys,
}

impl Visitor for Counting<'_> {
    type Output = ();

    fn visit<S, B, R>(self, mut service: S, key: Option<String>)
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Default + Send + 'static,
    {
        let Self { stack, outcome, times, keys } = self;
        let repeated = match outcome {
            Outcome::Valid => Some(key.unwrap_or_else(|| keys.sent()[0].clone())),
            Outcome::Missing => None,
            Outcome::Malformed => Some("key_this-is-not-one-of-our-keys".to_owned()),
            Outcome::Forged => Some(ours::forged()),
            Outcome::Unknown | Outcome::NewUnknown => Some(keys.unknown()),
        };
        let next = || match outcome {
            Outcome::NewUnknown => request(stack.carrier(), Some(&keys.unknown())),
            _ => request(stack.carrier(), repeated.as_deref()),
        };
        // Whatever is loaded at first.
        for _ in 0..10 {
            let first = next().map(|()| B::default());
            let answered = keys.runtime().block_on(service.call(first));
            assert!(answered.is_ok_and(|response| response.status() == outcome.status()));
            take_kept();
        }
        let requests: Vec<_> = (0..times).map(|_| next().map(|()| B::default())).collect();
        for request in requests {
            black_box(measured(&mut service, request));
            take_kept();
        }
    }
}

#[inline(never)]
fn measured<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>, Error = Infallible>,
{
    call(service, request)
}
