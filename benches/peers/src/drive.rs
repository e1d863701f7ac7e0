//! Sends requests through a stack and takes the time.

use std::{
    convert::Infallible,
    future::poll_fn,
    hint::black_box,
    marker::PhantomData,
    mem,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode};
use tokio::runtime::Handle;
use tower_service::Service;

use crate::{
    inner::{take_kept, take_raw},
    keys::Keys,
    ours,
    requests::{Carrier, request},
    stack::{Outcome, Stack, Visitor, visit},
};

/// Requests that are sent at a time: so many that the clock costs little, and so few that all of them
/// stay in the first caches.
const BURST: u32 = 64;

/// How the keys of valid requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// The same request again and again.
    Hot,
    /// The same key, set again in each request, as those need it that take it out.
    HotAgain,
    /// Another key in each request.
    Many,
    /// A new request each time, freed with its answer; of a denial there is nothing to use again.
    Freed,
}

impl Pattern {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::HotAgain => "hot, set again",
            Self::Many => "many",
            Self::Freed => "freed",
        }
    }
}

/// A stack that is ready for requests.
pub trait Driver: Send {
    /// Sends some requests, and says how many nanoseconds each took.
    fn burst(&mut self, requests: &mut Requests) -> f64;

    /// Another driver of the same layer, as a server has one for each connection.
    fn fork(&self) -> Box<dyn Driver>;
}

/// The driver of this stack, and the requests to give it. `None` where what it needs is not there.
pub fn driver(stack: Stack, keys: &Keys) -> Option<Driven> {
    visit(stack, keys, Making { stack, keys })
}

/// A driver, and the key that its stack alone knows.
pub struct Driven {
    /// Sends the requests.
    pub driver: Box<dyn Driver>,
    stack: Stack,
    key: Option<String>,
}

impl Driven {
    /// Requests for it. Threads have keys and requests of their own, and in `Many` begin elsewhere.
    pub fn requests(
        &self,
        keys: &Keys,
        outcome: Outcome,
        pattern: Pattern,
        thread: usize,
    ) -> Requests {
        let carrier = self.stack.carrier();
        let hot = self.key.as_ref().unwrap_or(&keys.sent()[0]).clone();
        let text = match outcome {
            Outcome::Valid => Some(hot),
            Outcome::Missing => None,
            Outcome::Malformed => Some("key_this-is-not-one-of-our-keys".to_owned()),
            Outcome::Forged => Some(ours::forged()),
            Outcome::Unknown | Outcome::NewUnknown => Some(keys.unknown()),
        };
        let sent = match pattern {
            Pattern::Many => keys.sent(),
            _ => text.as_slice(),
        };
        let start = thread * sent.len() / 2;
        let values = sent[start..].iter().chain(&sent[..start]);
        let values = values.map(|key| carrier.value(key)).collect();
        let kept = match pattern {
            Pattern::Freed => None,
            _ => Some(request(carrier, text.as_deref())),
        };
        let new = (outcome == Outcome::NewUnknown).then(|| keys.format().clone());
        let status = outcome.status();
        Requests { carrier, pattern, values, next: 0, kept, text, new, status }
    }
}

/// Requests of one kind, to be sent again and again.
pub struct Requests {
    carrier: Carrier,
    pattern: Pattern,
    /// The values of the key's header in turn.
    values: Vec<HeaderValue>,
    next: usize,
    /// The request that is used again.
    kept: Option<Request<()>>,
    /// The key of those that are not.
    text: Option<String>,
    /// Makes another key for each.
    new: Option<tower_api_key::KeyFormat>,
    status: StatusCode,
}

impl Requests {
    fn fresh(&self) -> Request<()> {
        match &self.new {
            Some(format) => {
                let key = format.generate().expect("random bytes");
                request(self.carrier, Some(key.expose()))
            }
            None => request(self.carrier, self.text.as_deref()),
        }
    }

    #[inline]
    fn next_value(&mut self) -> HeaderValue {
        self.next += 1;
        if self.next >= self.values.len() {
            self.next = 0;
        }
        self.values[self.next].clone()
    }
}

struct Making<'k> {
    stack: Stack,
    keys: &'k Keys,
}

impl Visitor for Making<'_> {
    type Output = Driven;

    fn visit<S, B, R>(self, service: S, key: Option<String>) -> Driven
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Default + Send + 'static,
    {
        let handle = self.keys.runtime().handle().clone();
        let driver = Box::new(Typed { service, handle, body: PhantomData::<fn() -> B> });
        Driven { driver, stack: self.stack, key }
    }
}

struct Typed<S, B> {
    service: S,
    handle: Handle,
    body: PhantomData<fn() -> B>,
}

impl<S, B, R> Driver for Typed<S, B>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Default + Send + 'static,
{
    fn burst(&mut self, requests: &mut Requests) -> f64 {
        let Self { service, handle, .. } = self;
        let mut as_expected = 0;
        let header = requests.carrier.header();
        let time: Duration = match requests.pattern {
            Pattern::Freed => {
                let fresh: Vec<_> = (0..BURST).map(|_| requests.fresh()).collect();
                handle.block_on(async {
                    let start = Instant::now();
                    for request in fresh {
                        let response = answer(service, request).await;
                        as_expected += u32::from(response.status() == requests.status);
                        drop(take_raw());
                    }
                    start.elapsed()
                })
            }
            Pattern::Hot => handle.block_on(async {
                let mut next = requests.kept.take().expect("it comes back");
                let start = Instant::now();
                for _ in 0..BURST {
                    let response = answer(service, mem::take(&mut next)).await;
                    as_expected += u32::from(response.status() == requests.status);
                    next = take_kept().expect("the request was let in");
                }
                let time = start.elapsed();
                requests.kept = Some(next);
                time
            }),
            Pattern::HotAgain | Pattern::Many => handle.block_on(async {
                let mut next = requests.kept.take().expect("it comes back");
                let start = Instant::now();
                for _ in 0..BURST {
                    next.headers_mut().insert(header.clone(), requests.next_value());
                    let response = answer(service, mem::take(&mut next)).await;
                    as_expected += u32::from(response.status() == requests.status);
                    next = take_kept().expect("the request was let in");
                }
                let time = start.elapsed();
                requests.kept = Some(next);
                time
            }),
        };
        assert_eq!(as_expected, BURST, "not all answers were {}", requests.status);
        time.as_secs_f64() * 1e9 / f64::from(BURST)
    }

    fn fork(&self) -> Box<dyn Driver> {
        let (service, handle) = (self.service.clone(), self.handle.clone());
        Box::new(Self { service, handle, body: PhantomData })
    }
}

/// The answer to one request.
#[inline]
async fn answer<S, B>(service: &mut S, request: Request<()>) -> S::Response
where
    S: Service<Request<B>, Error = Infallible>,
    B: Default,
{
    let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
    let Ok(response) = service.call(request.map(|()| B::default())).await;
    black_box(response)
}

/// The answer of a service that needs no waiting.
///
/// # Panics
///
/// Where it waits.
#[inline]
pub fn call<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("nothing here waits"),
    }
}
