//! What a layer tells of denials: one event each, whoever inside or outside has denied.

use std::{
    convert::Infallible,
    mem,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyId, OwnerId, OwnerLayer, RejectionKind, RequireScopesLayer,
    key::{KeyAction, KeyEvent},
    store::LocalInvalidations,
};

use crate::{
    denials::denied,
    managed::Managed,
    stores::TestStore,
    support::{
        KEY, NOW, OTHER_KEY, clock, record, record_with, respond, send, send_waiting, with_key,
    },
};

const CLIENT: &str = "192.0.2.7";

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<KeyEvent>>>);

impl Ear {
    fn heard(&self) -> Vec<KeyEvent> {
        mem::take(&mut *self.0.lock().unwrap())
    }

    /// A layer that is listened to, on the tests' clock, with clients of a dual-stack socket.
    fn on(&self, layer: ApiKeyLayer) -> ApiKeyLayer {
        let ear = self.0.clone();
        layer
            .with_clock(clock())
            .with_client_address(|_| Some(format!("::ffff:{CLIENT}").parse().unwrap()))
            .with_event_hook(move |event| ear.lock().unwrap().push(event.clone()))
    }

    /// The only event.
    fn one(&self) -> KeyEvent {
        let mut heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.pop().unwrap()
    }
}

fn no_secrets(event: &KeyEvent) {
    let text = format!("{event:?}").to_lowercase();
    for key in [KEY, OTHER_KEY] {
        assert!(!text.contains(&key.to_lowercase()));
        assert!(!text.contains(&record(key).digest.to_hex()));
    }
}

#[tokio::test]
async fn every_kind_of_denial_is_told_once() {
    for (kind, layer, request) in denied() {
        let ear = Ear::default();
        let heard = ear.0.clone();
        let layer = layer.with_event_hook(move |event| heard.lock().unwrap().push(event.clone()));
        let answer = send_waiting(&layer, request).await;
        let event = ear.one();
        assert_eq!(event.action, KeyAction::Denied(kind));
        assert_eq!(event.key, answer.rejection().key());
        assert_eq!((&event.owner, &event.actor, &event.detail), (&None, &None, &None));
        no_secrets(&event);
    }
}

#[test]
fn who_was_let_in_is_not_told() {
    let ear = Ear::default();
    let layer = ear.on(ApiKeyLayer::new(TestStore::new([record(KEY)])));
    assert_eq!(send(&layer, with_key(KEY)).outcome(), "admitted");
    assert_eq!(ear.heard(), []);
}

#[test]
fn a_denial_says_which_key_when_and_from_where() {
    let ear = Ear::default();
    let disabled = record_with(KEY, |record| record.disabled = true);
    let id = disabled.id;
    let layer = ear.on(ApiKeyLayer::new(TestStore::new([disabled])));
    send(&layer, with_key(KEY));
    let event = ear.one();
    assert_eq!(event.action, KeyAction::Denied(RejectionKind::Disabled));
    assert_eq!((event.key, event.at), (Some(id), NOW));
    assert_eq!(event.address, Some(CLIENT.parse::<IpAddr>().unwrap()));
    no_secrets(&event);

    // Nobody knows whose it is.
    send(&layer, with_key(OTHER_KEY));
    let event = ear.one();
    assert_eq!(event.action, KeyAction::Denied(RejectionKind::Unknown));
    assert_eq!((event.key, event.address), (None, Some(CLIENT.parse().unwrap())));
    no_secrets(&event);
}

#[tokio::test]
async fn the_truth_is_told_beside_the_uniform_response() {
    let ear = Ear::default();
    let layer = ear.on(ApiKeyLayer::new(TestStore::new([]))).with_uniform_denials();
    assert_eq!(send(&layer, with_key(KEY)).outcome(), "invalid_key");
    assert_eq!(ear.one().action, KeyAction::Denied(RejectionKind::Unknown));
}

/// Answers 200, should anybody come so far.
async fn inner(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

fn is_denial(event: &KeyEvent, kind: RejectionKind, key: Option<KeyId>) {
    assert_eq!(event.action, KeyAction::Denied(kind));
    assert_eq!(event.key, key);
    no_secrets(event);
}

#[tokio::test]
async fn a_denial_for_lack_of_scopes_is_told_once() {
    let ear = Ear::default();
    let known = record(KEY);
    let id = known.id;
    let service = ServiceBuilder::new()
        .layer(ear.on(ApiKeyLayer::new(TestStore::new([known])).allow_anonymous()))
        .layer(RequireScopesLayer::all(["orders:read"]).unwrap())
        .service(service_fn(inner));
    assert_eq!(respond(service.clone(), with_key(KEY)).await.status(), 403);
    is_denial(&ear.one(), RejectionKind::InsufficientScope, Some(id));
    assert_eq!(respond(service.clone(), with_key(OTHER_KEY)).await.status(), 401);
    is_denial(&ear.one(), RejectionKind::Unknown, None);
    // Let in by the outer layer, and missed by the inner one.
    assert_eq!(respond(service, crate::support::get("/")).await.status(), 401);
    is_denial(&ear.one(), RejectionKind::Missing, None);
}

#[tokio::test]
async fn a_denial_for_its_owner_is_told_once() {
    let ear = Ear::default();
    let owned = record_with(KEY, |record| record.owner = Some("user-3".into()));
    let ownerless = record(OTHER_KEY);
    let ids = [owned.id, ownerless.id];
    let find = |_: OwnerId| async { Ok::<_, std::io::Error>(None::<String>) };
    let service = ServiceBuilder::new()
        .layer(ear.on(ApiKeyLayer::new(TestStore::new([owned, ownerless]))))
        .layer(OwnerLayer::new(find))
        .service(service_fn(inner));
    for (key, id) in [KEY, OTHER_KEY].into_iter().zip(ids) {
        assert_eq!(respond(service.clone(), with_key(key)).await.status(), 401);
        is_denial(&ear.one(), RejectionKind::InactiveOwner, Some(id));
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_denial_of_an_extractor_or_a_handler_is_told_once() {
    use axum::{Router, body::Body, routing::get};
    use tower_api_key::{AuthenticatedKey, Rejection};

    let ear = Ear::default();
    let known = record(KEY);
    let id = known.id;
    let deny = |key: AuthenticatedKey| async move {
        Rejection::new(RejectionKind::CreditsExhausted).with_key(key.id())
    };
    let app: Router = Router::new()
        .route("/key", get(|_: AuthenticatedKey| async {}))
        .route("/deny", get(deny))
        .layer(ear.on(ApiKeyLayer::new(TestStore::new([known])).allow_anonymous()));
    let ask = async |path: &str, key: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        respond(app.clone(), request.body(Body::empty()).unwrap()).await.status().as_u16()
    };
    assert_eq!(ask("/key", None).await, 401);
    is_denial(&ear.one(), RejectionKind::Missing, None);
    assert_eq!(ask("/deny", Some(KEY)).await, 429);
    is_denial(&ear.one(), RejectionKind::CreditsExhausted, Some(id));
    assert_eq!(ask("/key", Some(KEY)).await, 200);
    assert_eq!(ask("/nowhere", Some(KEY)).await, 404);
    assert_eq!(ear.heard(), []);
}

/// Each layer tells of what it has answered itself.
#[tokio::test]
async fn of_two_layers_the_one_that_has_answered_tells() {
    let (outer, inside) = (Ear::default(), Ear::default());
    let store = || TestStore::new([record(KEY)]);
    let service = ServiceBuilder::new()
        .layer(outer.on(ApiKeyLayer::new(store()).allow_anonymous()))
        .layer(inside.on(ApiKeyLayer::new(store())))
        .layer(RequireScopesLayer::all(["orders:read"]).unwrap())
        .service(service_fn(inner));
    assert_eq!(respond(service.clone(), crate::support::get("/")).await.status(), 401);
    is_denial(&inside.one(), RejectionKind::Missing, None);
    assert_eq!(outer.heard(), []);
    assert_eq!(respond(service.clone(), with_key(KEY)).await.status(), 403);
    assert_eq!(inside.heard().len(), 1);
    assert_eq!(outer.heard(), []);
    assert_eq!(respond(service, with_key(OTHER_KEY)).await.status(), 401);
    is_denial(&outer.one(), RejectionKind::Unknown, None);
    assert_eq!(inside.heard(), []);
}

#[tokio::test]
async fn a_managers_hook_hears_the_denials_of_its_layers() {
    let managed = Managed::new();
    let key = managed.issue().await;
    managed.manager.revoke(key.record.id, None).await.unwrap();
    managed.heard();
    // Whatever else the manager is told, and by whom it is held.
    let handle = managed.manager.for_owner("user-1").acting_as("user-1");
    let layer = handle.with_invalidations(LocalInvalidations::new()).layer();
    assert_eq!(send(&layer, with_key(key.secret.expose())).outcome(), "revoked_key");
    let heard = managed.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].action, KeyAction::Denied(RejectionKind::Revoked));
    // Not an actor's doing, and not for the audit log.
    assert_eq!((heard[0].key, &heard[0].actor), (Some(key.record.id), &None));
    assert_eq!(managed.log().await.len(), 2);
    let text = format!("{heard:?}");
    assert!(!text.contains(key.secret.expose()) && !text.contains(&key.record.digest.to_hex()));
}
