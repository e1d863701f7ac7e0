//! `OwnerLayer` inside an `ApiKeyLayer`.

use std::{
    convert::Infallible,
    error::Error,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, header};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, Owner, OwnerId, OwnerLayer, Rejection, RejectionKind, RequireScopesLayer,
    owner::OwnerResolver, store::Lookup,
};
use tower_test::mock;

use crate::{
    grpc::as_grpc,
    readiness::Strict,
    stores::{CountDrop, TestStore},
    support::{
        KEY, OTHER_KEY, code, get, header_values, record_with, respond, respond_now, with_key,
    },
};

/// Somebody who cannot be cloned.
#[derive(Debug)]
struct User(String);

/// A resolver who knows `ada`, and counts how often it was asked. Clones share the counts.
#[derive(Clone)]
struct Users {
    answer: Answer,
    asked: Arc<AtomicUsize>,
    given_up: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Answer {
    Now,
    Later,
    Error,
    Never,
}

impl Users {
    fn new(answer: Answer) -> Self {
        Self { answer, asked: Arc::default(), given_up: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

fn find(id: &OwnerId) -> Option<Owner<User>> {
    (id.as_str() == "ada").then(|| Owner::new(User("Ada".into())))
}

#[async_trait]
impl OwnerResolver for Users {
    type Owner = User;
    type Error = io::Error;

    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<User>>> {
        let Answer::Now = self.answer else { return None };
        self.asked.fetch_add(1, SeqCst);
        Some(find(id).into())
    }

    async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<User>>, io::Error> {
        self.asked.fetch_add(1, SeqCst);
        let given_up = CountDrop(&self.given_up);
        match self.answer {
            Answer::Never => std::future::pending().await,
            _ => tokio::task::yield_now().await,
        }
        std::mem::forget(given_up);
        match self.answer {
            Answer::Error => Err(io::Error::other("no route to the users")),
            _ => Ok(find(id)),
        }
    }
}

/// A layer that knows [`KEY`], with this owner.
fn owned_by(owner: Option<&str>) -> ApiKeyLayer {
    let key = record_with(KEY, |record| record.owner = owner.map(OwnerId::from));
    ApiKeyLayer::new(TestStore::new([key]))
}

/// One request through both layers. The service answers with the name of the owner it saw.
async fn answer<T: AsRef<str> + Send + Sync + 'static>(
    auth: ApiKeyLayer,
    owners: OwnerLayer<T>,
    request: Request<()>,
) -> Response<Bytes> {
    let inner = service_fn(async |request: Request<()>| {
        let owner = Owner::<T>::from_extensions(request.extensions());
        let name = owner.as_ref().map_or("nobody", |owner| (**owner).as_ref()).to_owned();
        Ok::<_, Infallible>(Response::new(name))
    });
    respond(ServiceBuilder::new().layer(auth).layer(owners).service(inner), request).await
}

impl AsRef<str> for User {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

const ANSWERS: [Answer; 2] = [Answer::Now, Answer::Later];

#[tokio::test]
async fn the_service_learns_who_the_owner_is() {
    for how in ANSWERS {
        let users = Users::new(how);
        let layer = OwnerLayer::new(users.clone());
        for asked in 1..=3 {
            let response = answer(owned_by(Some("ada")), layer.clone(), with_key(KEY)).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.body(), "Ada");
            assert_eq!(users.asked(), asked, "once for each request, and nothing is kept");
        }
    }
}

#[tokio::test]
async fn keys_without_an_active_owner_are_refused() {
    for how in ANSWERS {
        for (owner, asked) in [(Some("eve"), 1), (Some("Ada"), 1), (Some(""), 1), (None, 0)] {
            let users = Users::new(how);
            let auth = owned_by(owner);
            let response = answer(auth, OwnerLayer::new(users.clone()), with_key(KEY)).await;
            assert_eq!(response.status(), 401, "{owner:?}");
            assert_eq!(code(&response), "inactive_owner");
            assert_eq!(header_values(&response, header::CACHE_CONTROL), ["no-store"]);
            assert_eq!(
                header_values(&response, header::WWW_AUTHENTICATE)[1],
                r#"Bearer realm="api", error="invalid_token""#
            );
            let rejection = response.extensions().get::<Rejection>().unwrap();
            assert_eq!(rejection.kind(), RejectionKind::InactiveOwner);
            assert!(rejection.key().is_some());
            assert_eq!(users.asked(), asked, "{owner:?}");
        }
    }
}

#[tokio::test]
async fn the_outer_layers_choices_count() {
    for how in ANSWERS {
        let owners = OwnerLayer::new(Users::new(how));
        let uniform = owned_by(Some("eve")).with_uniform_denials();
        let response = answer(uniform, owners.clone(), with_key(KEY)).await;
        assert_eq!(code(&response), "invalid_key");
        let hook = |rejection: &Rejection, prepared: Response<Bytes>| {
            prepared.map(|_| format!("hook: {rejection}").into())
        };
        let hooked = owned_by(Some("eve")).with_rejection_response(hook);
        let response = answer(hooked, owners, with_key(KEY)).await;
        assert_eq!(response.body(), "hook: denied: inactive_owner");
    }
}

#[tokio::test]
async fn a_resolver_that_fails_is_503() {
    let layer = OwnerLayer::new(Users::new(Answer::Error));
    let response = answer(owned_by(Some("ada")), layer, with_key(KEY)).await;
    assert_eq!(response.status(), 503);
    assert_eq!(code(&response), "store_unavailable");
    assert_eq!(header_values(&response, header::RETRY_AFTER), ["1"]);
    assert_eq!(header_values(&response, header::WWW_AUTHENTICATE), [""; 0]);
    // The caller does not learn why; the operator does.
    assert!(!String::from_utf8_lossy(response.body()).contains("route"));
    let rejection = response.extensions().get::<Rejection>().unwrap();
    let error = rejection.source().unwrap();
    assert_eq!(error.to_string(), "the owner of the key could not be resolved");
    assert_eq!(error.source().unwrap().to_string(), "no route to the users");
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_does_not_answer_is_503_in_time() {
    let layer = OwnerLayer::new(Users::new(Answer::Never));
    for (layer, seconds) in
        [(layer.clone(), 5), (layer.with_lookup_timeout(Duration::from_secs(1)), 1)]
    {
        let start = Instant::now();
        let response = answer(owned_by(Some("ada")), layer, with_key(KEY)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(seconds));
        assert_eq!(
            (response.status().as_u16(), code(&response)),
            (503, "store_unavailable".into())
        );
        let rejection = response.extensions().get::<Rejection>().unwrap();
        let error = rejection.source().unwrap().to_string();
        assert_eq!(error, "the owner of the key was not resolved in time");
    }
}

#[tokio::test]
async fn nobody_is_resolved_for_a_request_that_is_denied_before() {
    let users = Users::new(Answer::Later);
    let layer = OwnerLayer::new(users.clone());
    for request in [with_key(OTHER_KEY), with_key("short"), get("/")] {
        let response = answer(owned_by(Some("ada")), layer.clone(), request).await;
        assert_eq!(response.status(), 401);
    }
    assert_eq!(users.asked(), 0);
}

#[tokio::test]
async fn requests_without_an_identity_are_missing_one() {
    for how in ANSWERS {
        let users = Users::new(how);
        let layer = OwnerLayer::new(users.clone());
        let auth = owned_by(Some("ada"));
        for (auth, request) in [
            (auth.clone().allow_anonymous(), get("/")),
            (auth.with_bypass(|_| true), with_key(KEY)),
        ] {
            let response = answer(auth.clone(), layer.clone(), request.clone()).await;
            assert_eq!((response.status().as_u16(), code(&response)), (401, "missing_key".into()));
            assert_eq!(header_values(&response, header::WWW_AUTHENTICATE).len(), 2);

            let response = answer(auth, layer.clone().allow_anonymous(), request).await;
            assert_eq!(
                (response.status().as_u16(), response.body().as_ref()),
                (200, &b"nobody"[..])
            );
        }
        assert_eq!(users.asked(), 0);
    }
}

#[tokio::test]
async fn allowing_the_anonymous_lets_no_key_in() {
    for how in ANSWERS {
        let layer = OwnerLayer::new(Users::new(how)).allow_anonymous();
        for (owner, status) in [(Some("ada"), 200), (Some("eve"), 401), (None, 401)] {
            let auth = owned_by(owner).allow_anonymous();
            let response = answer(auth, layer.clone(), with_key(KEY)).await;
            assert_eq!(response.status(), status, "{owner:?}");
        }
    }
    let layer = OwnerLayer::new(Users::new(Answer::Error)).allow_anonymous();
    let response = answer(owned_by(Some("ada")), layer, with_key(KEY)).await;
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn without_an_identity_layer_outside_it_says_which_one_to_add() {
    for layer in [
        OwnerLayer::new(Users::new(Answer::Later)),
        OwnerLayer::new(Users::new(Answer::Now)).allow_anonymous(),
    ] {
        let inner = service_fn(async |_: Request<()>| -> Result<Response<String>, Infallible> {
            panic!("reached")
        });
        let response = respond(layer.layer(inner), with_key(KEY)).await;
        assert_eq!(response.status(), 500);
        let text = std::str::from_utf8(response.body()).unwrap();
        assert!(text.contains("tower_api_key::ApiKeyLayer"), "{text}");
    }
}

#[tokio::test]
async fn owners_are_checked_on_every_request() {
    let open = Arc::new(AtomicBool::new(true));
    for how in ANSWERS {
        let check = open.clone();
        let layer = OwnerLayer::new(Users::new(how))
            .with_active_check(move |user: &User| user.0 == "Ada" && check.load(SeqCst));
        for (is_open, status) in [(true, 200), (false, 401), (true, 200)] {
            open.store(is_open, SeqCst);
            let response = answer(owned_by(Some("ada")), layer.clone(), with_key(KEY)).await;
            assert_eq!(response.status(), status);
        }
    }
}

async fn by_name(id: OwnerId) -> Result<Option<String>, &'static str> {
    match id.as_str() {
        "fails" => Err("an error that is only a text"),
        "nobody" => Ok(None),
        name => Ok(Some(name.to_uppercase())),
    }
}

#[tokio::test]
async fn functions_closures_and_shared_resolvers_are_resolvers() {
    let greeting = String::from("HELLO ");
    let closure = move |id: OwnerId| {
        let greeting = greeting.clone();
        async move { Ok::<_, Infallible>(Some(greeting + id.as_str())) }
    };
    let shared: Arc<dyn OwnerResolver<Owner = User, Error = io::Error>> =
        Arc::new(Users::new(Answer::Now));
    let auth = || owned_by(Some("ada"));
    assert_eq!(answer(auth(), OwnerLayer::new(by_name), with_key(KEY)).await.body(), "ADA");
    assert_eq!(answer(auth(), OwnerLayer::new(closure), with_key(KEY)).await.body(), "HELLO ada");
    assert_eq!(answer(auth(), OwnerLayer::new(shared), with_key(KEY)).await.body(), "Ada");
    for (owner, status) in [("fails", 503), ("nobody", 401)] {
        let response = answer(owned_by(Some(owner)), OwnerLayer::new(by_name), with_key(KEY)).await;
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn grpc_requests_are_denied_as_the_protocol_asks() {
    for (how, owner, status, message) in [
        (Answer::Later, "eve", "16", "inactive_owner: "),
        (Answer::Error, "ada", "14", "store_unavailable: "),
    ] {
        let layer = OwnerLayer::new(Users::new(how));
        let request = as_grpc(with_key(KEY), "application/grpc+proto");
        let response = answer(owned_by(Some(owner)), layer, request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], status);
        let said = response.headers()["grpc-message"].to_str().unwrap();
        assert!(said.starts_with(message), "{said}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc+proto");
        assert!(response.body().is_empty());
    }
}

#[tokio::test]
async fn scopes_and_owners_are_asked_for_in_any_order() {
    let owners = || OwnerLayer::new(Users::new(Answer::Later));
    let scopes = || RequireScopesLayer::all(["orders:read"]).unwrap();
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let build = || ServiceBuilder::new().layer(owned_by(Some("eve")));
    let first = build().layer(owners()).layer(scopes()).service(inner);
    assert_eq!(code(&respond(first, with_key(KEY)).await), "inactive_owner");
    let second = build().layer(scopes()).layer(owners()).service(inner);
    assert_eq!(code(&respond(second, with_key(KEY)).await), "insufficient_scope");
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_called() {
    // With the clones that a request which waits leaves in its place.
    for (how, generations) in [(Answer::Now, [0, 0, 0]), (Answer::Later, [0, 1, 2])] {
        let strict = Strict::default();
        let called = strict.called.clone();
        let layer = OwnerLayer::new(Users::new(how));
        let mut service =
            ServiceBuilder::new().layer(owned_by(Some("ada"))).layer(layer).service(strict);
        for _ in 0..3 {
            let response = service.ready().await.unwrap().call(with_key(KEY)).await.unwrap();
            assert_eq!(response.status(), 200);
        }
        assert_eq!(*called.lock().unwrap(), generations);
    }
}

#[tokio::test]
async fn a_mock_that_reserves_capacity_agrees() {
    let layers = ServiceBuilder::new()
        .layer(owned_by(Some("ada")))
        .layer(OwnerLayer::new(Users::new(Answer::Later)));
    let (mut service, mut handle) = mock::spawn_layer(layers.into_inner());
    handle.allow(0);
    assert!(service.poll_ready().is_pending(), "ready although the inner service is not");
    handle.allow(1);
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let response = service.call(with_key(KEY));
    let (response, ()) = tokio::join!(response, async {
        let (request, send) = handle.next_request().await.unwrap();
        assert_eq!(Owner::<User>::from_extensions(request.extensions()).unwrap().0, "Ada");
        send.send_response(Response::new(Full::<Bytes>::default()));
    });
    assert_eq!(response.unwrap().status(), 200);
}

#[derive(Debug, PartialEq)]
struct Broken;

#[tokio::test]
async fn the_inner_services_error_is_the_error() {
    for how in ANSWERS {
        let inner = service_fn(async |_: Request<()>| Err::<Response<String>, _>(Broken));
        let service = |owner| {
            let layer = OwnerLayer::new(Users::new(how));
            ServiceBuilder::new().layer(owned_by(Some(owner))).layer(layer).service(inner)
        };
        assert_eq!(service("ada").oneshot(with_key(KEY)).await.unwrap_err(), Broken);
        // A denial is a response, even where the inner service would have failed.
        assert_eq!(service("eve").oneshot(with_key(KEY)).await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn bodies_services_and_futures_need_not_be_send_or_static() {
    let local = String::from("borrowed");
    for how in ANSWERS {
        let inner = service_fn(async |request: Request<Rc<&str>>| {
            Ok::<_, Rc<str>>(Response::new(request.into_body().to_string()))
        });
        let service = ServiceBuilder::new()
            .layer(owned_by(Some("ada")))
            .layer(OwnerLayer::new(Users::new(how)))
            .service(inner);
        let request = with_key(KEY).map(|()| Rc::new(local.as_str()));
        assert_eq!(respond(service, request).await.body(), "borrowed");
    }
}

#[test]
fn nothing_but_waiting_needs_a_runtime() {
    for (owner, status) in [("ada", 200), ("eve", 401)] {
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
        let service = ServiceBuilder::new()
            .layer(owned_by(Some(owner)))
            .layer(OwnerLayer::new(Users::new(Answer::Now)))
            .service(inner);
        assert_eq!(respond_now(service, with_key(KEY)).status(), status);
    }
}

#[tokio::test]
async fn dropping_the_response_gives_up_the_question() {
    let users = Users::new(Answer::Never);
    let strict = Strict::default();
    let called = strict.called.clone();
    let service = ServiceBuilder::new()
        .layer(owned_by(Some("ada")))
        .layer(OwnerLayer::new(users.clone()))
        .service(strict);
    let mut response = Box::pin(service.oneshot(with_key(KEY)));
    assert!(response.as_mut().now_or_never().is_none());
    assert_eq!((users.asked(), users.given_up.load(SeqCst)), (1, 0));
    drop(response);
    assert_eq!((users.asked(), users.given_up.load(SeqCst)), (1, 1));
    assert!(called.lock().unwrap().is_empty());
}

#[cfg(feature = "axum")]
mod in_axum {
    use axum::{Router, body::Body, routing::get as route};

    use super::*;

    async fn required(user: Owner<User>) -> String {
        format!("required {}", user.0)
    }

    async fn optional(user: Option<Owner<User>>) -> String {
        format!("optional {}", user.map_or("nobody".into(), |user| user.0.clone()))
    }

    fn app() -> Router {
        Router::new().route("/required", route(required)).route("/optional", route(optional))
    }

    async fn ask(app: Router, path: &str, key: Option<&str>) -> Response<Bytes> {
        let mut request = get(path);
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        respond(app, request.map(|()| Body::empty())).await
    }

    #[tokio::test]
    async fn extractors_give_the_owner() {
        for how in ANSWERS {
            let app = app().layer(OwnerLayer::new(Users::new(how))).layer(owned_by(Some("ada")));
            for (path, body) in [("/required", "required Ada"), ("/optional", "optional Ada")] {
                assert_eq!(ask(app.clone(), path, Some(KEY)).await.body(), body);
                assert_eq!(code(&ask(app.clone(), path, None).await), "missing_key");
            }
        }
    }

    #[tokio::test]
    async fn extractors_know_the_anonymous() {
        let owners = OwnerLayer::new(Users::new(Answer::Later)).allow_anonymous();
        let app = app().layer(owners).layer(owned_by(Some("ada")).allow_anonymous());
        assert_eq!(ask(app.clone(), "/optional", None).await.body(), "optional nobody");
        let denied = ask(app, "/required", None).await;
        assert_eq!((denied.status().as_u16(), code(&denied)), (401, "missing_key".into()));
    }

    #[tokio::test]
    async fn extractors_without_a_layer_say_which_one_to_add() {
        for path in ["/required", "/optional"] {
            let other_type = OwnerLayer::new(by_name);
            for app in [
                app(),
                app().layer(owned_by(Some("ada"))),
                app().layer(other_type).layer(owned_by(Some("ada"))),
            ] {
                let response = ask(app, path, Some(KEY)).await;
                assert_eq!(response.status(), 500);
                let text = std::str::from_utf8(response.body()).unwrap();
                assert!(text.contains("tower_api_key::OwnerLayer"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn on_one_route_others_need_no_owner() {
        let guarded = OwnerLayer::new(Users::new(Answer::Later));
        let app = Router::new()
            .route("/required", route(required).layer(guarded))
            .route("/open", route(|| async { "open" }))
            .layer(ApiKeyLayer::new(TestStore::new([crate::support::record(KEY)])));
        assert_eq!(code(&ask(app.clone(), "/required", Some(KEY)).await), "inactive_owner");
        assert_eq!(ask(app, "/open", Some(KEY)).await.body(), "open");
    }
}
