//! Random keys by the thousand, while known keys are served.
//!
//! How fast is for `cargo bench --bench flood` to say: a time measured in a test depends on what
//! else the machine does.

use std::{convert::Infallible, num::NonZeroU32, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, KeyFormat, KeyManager, NewKey, Rejection};

use crate::support::{Fixture, TTL};

/// How a request with this key ends: `admitted`, or the code of the denial.
pub(crate) async fn ask(layer: &ApiKeyLayer, key: &str) -> &'static str {
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = ServiceBuilder::new().layer(layer.clone()).service(inner);
    let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    match response.extensions().get::<Rejection>() {
        Some(rejection) => rejection.kind().code(),
        None => "admitted",
    }
}

const BUDGET: u32 = 500;

/// A layer that knows ten keys, and those keys.
async fn serving(fixture: &Fixture) -> (ApiKeyLayer, Vec<String>) {
    let manager = KeyManager::new(fixture.cache.clone()).with_clock(fixture.clock.clone());
    let layer = manager.layer();
    let mut known = Vec::new();
    for number in 0..10 {
        let issued = manager.create(NewKey::named(format!("key {number}"))).await.unwrap();
        known.push(issued.secret.expose().to_owned());
        assert_eq!(ask(&layer, &known[number]).await, "admitted");
    }
    (layer, known)
}

/// A well-formed key that nobody has issued.
fn random_key() -> String {
    let format = KeyFormat::new("key").unwrap();
    format.generate().unwrap().expose().to_owned()
}

fn fixture() -> Fixture {
    Fixture::with(|cache| cache.with_lookup_budget(NonZeroU32::new(BUDGET).unwrap()))
}

#[tokio::test]
async fn the_store_sees_no_more_than_the_budget_and_known_keys_nothing_of_it() {
    let fixture = fixture();
    let (layer, known) = serving(&fixture).await;
    let (mut unknown, mut overloaded, mut admitted) = (0, 0, 0);
    let before = fixture.store.lookups();
    // Forty seconds, in which every known key goes out of its time.
    for millis in (0..40_000).step_by(10) {
        fixture.at(Duration::from_millis(millis));
        for _ in 0..10 {
            match ask(&layer, &random_key()).await {
                "unknown_key" => unknown += 1,
                "lookup_overloaded" => overloaded += 1,
                other => panic!("{other}"),
            }
        }
        let key = &known[usize::try_from(millis).unwrap() / 10 % known.len()];
        assert_eq!(ask(&layer, key).await, "admitted");
        admitted += 1;
    }
    assert_eq!(unknown + overloaded, 40_000);
    assert_eq!(admitted, 4_000);
    // A second's worth at once, and then what forty seconds bring, but for the last ten
    // milliseconds of them. Ten keys were looked up before.
    let budget = usize::try_from(BUDGET).unwrap();
    assert_eq!(unknown, budget - known.len() + 40 * budget - budget / 100);
    let for_known = fixture.store.lookups() - before - unknown;
    // Each in the last fifth of its time, which is up to a tenth shorter than the whole.
    assert_eq!(for_known, known.len());
    assert!(Duration::from_secs(40) < 2 * TTL.mul_f64(0.8 * 0.9), "a single time each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_with_everybody_at_once() {
    const REQUESTS: usize = 5_000;
    let fixture = fixture();
    let (layer, known) = serving(&fixture).await;
    let before = fixture.store.lookups();
    let mut flood = JoinSet::new();
    for _ in 0..4 {
        let layer = layer.clone();
        flood.spawn(async move {
            let mut overloaded = 0;
            for _ in 0..REQUESTS {
                let outcome = ask(&layer, &random_key()).await;
                assert!(matches!(outcome, "unknown_key" | "lookup_overloaded"), "{outcome}");
                overloaded += usize::from(outcome == "lookup_overloaded");
            }
            overloaded
        });
    }
    for number in 0..REQUESTS {
        assert_eq!(ask(&layer, &known[number % known.len()]).await, "admitted");
    }
    let overloaded: usize = flood.join_all().await.into_iter().sum();
    // The clock stands still: there was one second's worth, less what the known keys took.
    let budget = usize::try_from(BUDGET).unwrap() - known.len();
    assert_eq!(fixture.store.lookups() - before, budget);
    assert_eq!(overloaded, 4 * REQUESTS - budget);
}
