//! What became of requests with known keys, and where they came from.

use std::net::IpAddr;

use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    RequireScopesLayer, UsageRecorder,
    auth::RequestHead,
    store::{KeyRepository, MemoryStore},
};

use super::{hours, totals::counted};
use crate::support::{KEY, OTHER_KEY, clock, record_with, respond_now, send, with_key};

async fn outcomes(store: &MemoryStore) -> Vec<(&'static str, u64)> {
    hours(store).await.into_iter().map(|(_, outcome, count)| (outcome, count)).collect()
}

#[tokio::test]
async fn denials_of_known_keys_are_counted_by_their_reason() {
    let (store, usage, layer, _) = counted().await;
    let disabled = record_with(OTHER_KEY, |record| record.disabled = true);
    store.insert(&disabled).await.unwrap();
    send(&layer, with_key(KEY));
    for _ in 0..2 {
        send(&layer, with_key(OTHER_KEY));
    }
    // Nobody knows whose these would be.
    send(&layer, with_key("a-key-that-does-not-exist"));
    send(&layer, with_key("short"));
    usage.flush().await.unwrap();
    assert_eq!(outcomes(&store).await, [("accepted", 1), ("disabled_key", 2)]);
}

/// It was let in, and then denied by what knows the route.
#[tokio::test]
async fn denials_that_are_made_inside_are_counted_too() {
    let (store, usage, layer, _) = counted().await;
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let service = ServiceBuilder::new()
        .layer(layer)
        .layer(RequireScopesLayer::all(["orders:read"]).unwrap())
        .service(inner);
    assert_eq!(respond_now(service, with_key(KEY)).status(), 403);
    usage.flush().await.unwrap();
    assert_eq!(outcomes(&store).await, [("accepted", 1), ("insufficient_scope", 1)]);
}

#[tokio::test]
async fn the_address_of_the_last_use_is_recorded_where_that_is_wanted() {
    for (wanted, expected) in [(false, None), (true, Some("192.0.2.2".parse().unwrap()))] {
        let (store, _, layer, id) = counted().await;
        let usage = UsageRecorder::builder(store.clone()).with_clock(clock());
        let address = |request: &RequestHead<'_>| request.extensions.get::<IpAddr>().copied();
        let usage = if wanted { usage.counting_addresses(address) } else { usage };
        let usage = usage.build().unwrap();
        let layer = layer.with_usage(usage.clone());
        for address in ["192.0.2.1", "::ffff:192.0.2.2"] {
            let mut request = with_key(KEY);
            request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
            assert!(send(&layer, request).seen.is_some());
        }
        usage.flush().await.unwrap();
        let record = store.get(id).await.unwrap().unwrap();
        assert_eq!(record.details.last_used_from, expected);
    }
}
