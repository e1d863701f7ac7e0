//! Identity headers: set on every request that goes on, and never the client's own.

mod names;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, OwnerId, Scopes,
    identity::{IdentityHeaders, IdentityLayer},
    store::{KeyRepository, MemoryStore},
};

use crate::support::{KEY, record, record_with, request, request_to, respond, with_key};

/// The headers in which the identity is.
const NAMES: [&str; 3] = ["x-api-key-id", "x-api-key-owner", "x-api-key-scopes"];

async fn store() -> (MemoryStore, String) {
    let store = MemoryStore::new();
    let record = record_with(KEY, |record| {
        record.owner = Some(OwnerId::new("Zoë & co"));
        record.scopes = Scopes::parse(["orders:read", "a,b"]).unwrap();
    });
    let id = record.id.to_string();
    store.insert(&record).await.unwrap();
    (store, id)
}

/// The headers that the service behind both layers sees, or none where it sees no request.
async fn seen(
    outer: Option<ApiKeyLayer>,
    identity: IdentityLayer,
    request: Request<()>,
) -> (Option<HeaderMap>, Response<Bytes>) {
    let seen = Arc::new(Mutex::new(None));
    let inner = service_fn(|request: Request<()>| {
        *seen.lock().unwrap() = Some(request.into_parts().0.headers);
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("inner"))) }
    });
    let response = if let Some(outer) = outer {
        respond(ServiceBuilder::new().layer(outer).layer(identity).service(inner), request).await
    } else {
        respond(ServiceBuilder::new().layer(identity).service(inner), request).await
    };
    let seen = seen.lock().unwrap().take();
    (seen, response)
}

/// The values of these headers, each exactly once.
fn values(headers: &HeaderMap, names: [&str; 3]) -> [String; 3] {
    names.map(|name| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0].to_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn a_request_has_the_identity_of_its_key() {
    let (store, id) = store().await;
    let (seen, _) = seen(Some(ApiKeyLayer::new(store)), IdentityLayer::new(), with_key(KEY)).await;
    let expected = [id, "Zo%C3%AB%20%26%20co".into(), "a%2Cb orders:read".into()];
    assert_eq!(values(&seen.unwrap(), NAMES), expected);
}

#[tokio::test]
async fn where_there_is_nothing_to_say_the_headers_are_empty() {
    let store = MemoryStore::new();
    let plain = record(KEY);
    let id = plain.id.to_string();
    store.insert(&plain).await.unwrap();
    let layer = ApiKeyLayer::new(store);
    let anonymous = layer.clone().allow_anonymous();
    let past = layer.clone().with_bypass(|_| true);
    for (layer, request, expected) in [
        (layer, with_key(KEY), [id, String::new(), String::new()]),
        (anonymous, request::<&str>(&[]), Default::default()),
        (past, with_key(KEY), Default::default()),
    ] {
        let (seen, _) = seen(Some(layer), IdentityLayer::new(), request).await;
        assert_eq!(values(&seen.unwrap(), NAMES), expected);
    }
}

#[tokio::test]
async fn without_a_layer_outside_no_request_goes_on() {
    let (seen, response) = seen(None, IdentityLayer::new(), with_key(KEY)).await;
    assert!(seen.is_none());
    assert_eq!(response.status(), 500);
    assert!(response.body().starts_with(b"No identity in this request"));
}

/// Spellings of the names that a server may take for ours.
const IMITATIONS: [&str; 14] = [
    "x-api-key-id",
    "X-API-KEY-ID",
    "X-Api-Key-Owner",
    "x-Api-kEy-scopes",
    "X_Api_Key_Id",
    "x_api_key_owner",
    "X_API_KEY_SCOPES",
    "X-Api_Key-Id",
    "X_Api-Key-Owner",
    "X-Api-Key_Scopes",
    "x.api.key.id",
    "X-Api.Key-Owner",
    "X~Api~Key~Scopes",
    "x-api!key-id",
];

#[tokio::test]
async fn no_identity_that_a_client_sends_goes_on() {
    for name in IMITATIONS {
        let (store, id) = store().await;
        let layer = ApiKeyLayer::new(store).allow_anonymous();
        for (key, expected_id) in [(Some(KEY), &*id), (None, "")] {
            let sent = [(name, "forged"), (name, "forged again")];
            let key = key.map(|key| ("x-api-key", key));
            let sent: Vec<_> = sent.into_iter().chain(key).collect();
            let (seen, _) = seen(Some(layer.clone()), IdentityLayer::new(), request(&sent)).await;
            let seen = seen.unwrap();
            assert_eq!(values(&seen, NAMES)[0], expected_id, "{name}");
            let all = format!("{seen:?}");
            assert!(!all.contains("forged"), "{name}: {all}");
        }
    }
}

#[tokio::test]
async fn names_that_are_other_ones_stay() {
    let (store, _) = store().await;
    for name in ["x-api-key-ids", "x-api-key", "api-key-id", "x-api-key-i-d", "xapikeyid"] {
        let layer = ApiKeyLayer::new(store.clone()).allow_anonymous();
        let key = if name == "x-api-key" { KEY } else { "kept" };
        let (seen, _) = seen(Some(layer), IdentityLayer::new(), request(&[(name, key)])).await;
        assert_eq!(seen.unwrap()[name], key, "{name}");
    }
}

/// A proxy between drops the headers that `Connection` names.
#[tokio::test]
async fn a_client_cannot_have_the_identity_dropped_on_the_way() {
    let (store, _) = store().await;
    for (sent, kept) in [
        (&["X-Api-Key-Id"][..], &[][..]),
        (&["close, X-Api-Key-Owner"], &["close"]),
        (&["keep-alive, x-api-key-scopes ,Upgrade"], &["keep-alive, Upgrade"]),
        (&["upgrade", "X-API-KEY-ID"], &["upgrade"]),
        (&["x_api_key_id, te"], &["te"]),
        (&["Upgrade", "HTTP2-Settings"], &["Upgrade", "HTTP2-Settings"]),
        (&["x-api-key-ids"], &["x-api-key-ids"]),
    ] {
        let lines: Vec<_> = sent.iter().map(|line| ("connection", *line)).collect();
        let layer = ApiKeyLayer::new(store.clone()).allow_anonymous();
        let (seen, _) = seen(Some(layer), IdentityLayer::new(), request(&lines)).await;
        let seen = seen.unwrap();
        let found: Vec<_> = seen.get_all("connection").iter().collect();
        assert_eq!(found, kept, "{sent:?}");
    }
}

#[tokio::test]
async fn copies_of_a_target_with_a_key_do_not_go_on() {
    let (store, _) = store().await;
    let url = format!("https://a.example/orders?api_key={KEY}");
    let names = ["referer", "x-forwarded-uri", "x-original-url", "X-Original-URI"];
    let headers: Vec<_> = names.iter().map(|name| (*name, &*url)).collect();
    let layer = ApiKeyLayer::new(store)
        .with_source(tower_api_key::KeySource::query("api_key").unwrap())
        .hide_credentials();
    let target = format!("/orders?api_key={KEY}&page=2");
    let (seen, _) = seen(Some(layer), IdentityLayer::new(), request_to(&target, &headers)).await;
    let seen = seen.unwrap();
    assert!(!format!("{seen:?}").contains(KEY));
    assert!(names.iter().all(|name| !seen.contains_key(*name)));
}
