//! Layers that decide and deny nothing: until a time, for some keys, and beside another check.

#[cfg(feature = "legacy-hashes")]
mod apart;
mod beside;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod events;
mod inside;
mod mixed;
mod silent;
mod some;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, RejectionKind,
    auth::{ShadowLayer, WouldDeny},
};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, get, record_with, request, respond, with_key},
};

type Inner = tower::util::BoxCloneSyncService<Request<()>, Response<Full<Bytes>>, Infallible>;

/// A request that has gone through a layer.
struct Passed {
    response: Response<Bytes>,
    /// As the inner service saw it, if it did.
    seen: Option<Parts>,
}

impl Passed {
    /// The denial that would have been the answer, as handlers and layers outside see it.
    fn would_deny(&self) -> Option<RejectionKind> {
        let kind = |denial: &WouldDeny| denial.rejection().kind();
        let outside = self.response.extensions().get().map(kind);
        if let Some(seen) = &self.seen {
            assert_eq!(seen.extensions.get().map(kind), outside);
        }
        outside
    }

    fn identity(&self) -> Option<&str> {
        let key = self.seen.as_ref()?.extensions.get::<AuthenticatedKey>()?;
        Some(key.name())
    }

    fn is_untouched(&self) -> bool {
        self.response.status() == 200
            && self.response.headers().is_empty()
            && self.response.body() == "inner"
    }
}

/// Sends a request through `layer`, to a service that notes what it saw.
async fn send<L, S, B>(layer: &L, request: Request<()>) -> Passed
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let seen = Arc::new(Mutex::new(None));
    let note = seen.clone();
    let inner = service_fn(move |request: Request<()>| {
        *note.lock().unwrap() = Some(request.into_parts().0);
        async { Ok::<_, Infallible>(Response::new(Full::from("inner"))) }
    });
    let response = respond(layer.layer(Inner::new(inner)), request).await;
    let seen = seen.lock().unwrap().take();
    Passed { response, seen }
}

/// [`send`] where nothing may wait.
fn send_now<L, S, B>(layer: &L, request: Request<()>) -> Passed
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    send(layer, request).now_or_never().expect("the layer does not wait")
}

/// Of a good key and a revoked one.
fn keys() -> ApiKeyLayer {
    let good = record_with(KEY, |record| record.name = "good".into());
    let revoked = record_with(OTHER_KEY, |record| {
        record.name = "revoked".into();
        record.details.revoked_at = Some(at(-1));
    });
    ApiKeyLayer::new(TestStore::new([good, revoked])).with_clock(clock())
}

fn in_shadow() -> ShadowLayer {
    keys().shadow_until(at(1_000))
}

#[test]
fn nothing_is_denied_and_everything_is_told() {
    for (request, denial) in [
        (with_key(KEY), None),
        (get("/"), Some(RejectionKind::Missing)),
        (with_key("short"), Some(RejectionKind::Malformed)),
        (with_key("unknown-key-of-these-tests-0123"), Some(RejectionKind::Unknown)),
        (with_key(OTHER_KEY), Some(RejectionKind::Revoked)),
        (request(&[("x-api-key", KEY), ("x-api-key", OTHER_KEY)]), Some(RejectionKind::Ambiguous)),
    ] {
        let passed = send_now(&in_shadow(), request);
        assert!(passed.is_untouched(), "{:?}", passed.response);
        assert_eq!(passed.would_deny(), denial);
        assert_eq!(passed.identity(), denial.is_none().then_some("good"));
    }
}

#[test]
fn it_ends_at_its_time() {
    let clock = clock();
    let layer = keys().with_clock(clock.clone()).shadow_until(at(1_000));
    let denials = |millis| {
        clock.set(at(millis));
        let passed = send_now(&layer, get("/"));
        (passed.response.status().as_u16(), passed.would_deny())
    };
    assert_eq!(denials(0), (200, Some(RejectionKind::Missing)));
    assert_eq!(denials(999), (200, Some(RejectionKind::Missing)));
    assert_eq!(denials(1_000), (401, None));
    assert_eq!(denials(1_000_000), (401, None));
    let passed = send_now(&layer, with_key(KEY));
    assert_eq!(passed.identity(), Some("good"));
    assert!(!passed.response.headers().is_empty(), "an enforcing layer looks after caches");
}

#[test]
fn the_request_goes_on_as_it_came() {
    let layer = keys()
        .hide_credentials()
        .with_access_records()
        .with_event_hook(|event| panic!("told of {event:?}"))
        .shadow_until(at(1_000));
    for key in [KEY, OTHER_KEY] {
        let seen = send_now(&layer, with_key(key)).seen.unwrap();
        assert_eq!(seen.headers["x-api-key"], key);
    }
}

/// What an enforcing layer outside attached stays, and what one inside finds out counts.
#[test]
fn identities_of_other_layers_are_left_alone() {
    let user = record_with(KEY, |record| record.name = "user".into());
    let outer = ApiKeyLayer::new(TestStore::new([user]));
    let stack =
        |request| send_now(&tower::layer::util::Stack::new(in_shadow(), outer.clone()), request);
    let passed = stack(with_key(KEY));
    assert_eq!((passed.identity(), passed.would_deny()), (Some("user"), None));

    let other = keys().with_sources([tower_api_key::KeySource::header("x-other").unwrap()]);
    let denying = other.shadow_until(at(1_000));
    let passed = send_now(&tower::layer::util::Stack::new(denying, outer), with_key(KEY));
    assert_eq!(passed.identity(), Some("user"));
    assert_eq!(passed.would_deny(), Some(RejectionKind::Missing));
}

/// The mark of a layer in shadow is not one of the layer that judges the request next.
#[test]
fn an_enforcing_layer_inside_begins_anew() {
    for inner in [keys(), keys().allow_anonymous()] {
        let outer = keys()
            .with_sources([tower_api_key::KeySource::header("x-other").unwrap()])
            .shadow_until(at(1_000));
        let passed = send_now(&tower::layer::util::Stack::new(inner, outer), with_key(KEY));
        let seen = passed.seen.unwrap();
        assert!(seen.extensions.get::<WouldDeny>().is_none());
        assert!(seen.extensions.get::<AuthenticatedKey>().is_some());
        // The layer outside tells what it found all the same.
        let outside = passed.response.extensions().get::<WouldDeny>().unwrap();
        assert_eq!(outside.rejection().kind(), RejectionKind::Missing);
    }
}
