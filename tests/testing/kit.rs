//! Keys of every kind, and what a wrong denial is told as.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeySource, OwnerId, RejectionKind, RequireScopesLayer,
    clock::Clock,
    limit::{Limit, Limits, Quota},
    manage::IssuedKey,
    nonzero,
    store::{FixedStore, MemoryStore},
    testing::{TestKeys, WithKey, assert_denied},
};

fn get() -> Request<()> {
    Request::get("/orders?page=1").body(()).unwrap()
}

async fn send(layer: ApiKeyLayer, request: Request<()>) -> Response<()> {
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let service = ServiceBuilder::new()
        .layer(layer)
        .layer(RequireScopesLayer::all(["a:read"]).unwrap())
        .service(inner);
    service.oneshot(request).await.unwrap().map(drop)
}

async fn status(keys: &TestKeys, key: &IssuedKey) -> StatusCode {
    send(keys.layer(), get().with_key(key)).await.status()
}

#[tokio::test]
async fn each_kind_of_key_is_judged_as_what_it_is() {
    let keys = TestKeys::new();
    let good = || keys.with_scopes(["a:read"]);
    let ask = async |key: &IssuedKey| send(keys.layer(), get().with_key(key)).await;
    assert_eq!(ask(&good().await).await.status(), StatusCode::OK);
    assert_denied!(ask(&keys.any().await).await, "insufficient_scope", ["a:read"]);
    assert_denied!(ask(&keys.unknown().await).await, RejectionKind::Unknown);
    assert_denied!(ask(&good().revoked().await).await, RejectionKind::Revoked);
    assert_denied!(ask(&good().disabled().await).await, RejectionKind::Disabled);
    assert_denied!(ask(&good().expired().await).await, RejectionKind::Expired);
    assert_denied!(send(keys.layer(), get()).await, RejectionKind::Missing);

    let tomorrow = keys.clock().now().saturating_add(Duration::from_hours(24));
    let key = good().valid_from(tomorrow).with_owner("anna").await;
    assert_eq!(key.record.owner.as_ref().map(OwnerId::as_str), Some("anna"));
    assert_denied!(ask(&key).await, RejectionKind::NotYetValid);
    keys.clock().advance(Duration::from_hours(24));
    assert_eq!(ask(&key).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn limits_and_credits_are_enforced_by_the_clock() {
    let keys = TestKeys::new();
    let limits = [Limit::new("minute", Quota::per_minute(nonzero!(1))).unwrap()];
    let limited = keys.with_scopes(["a:read"]).with_limits(Limits::new(limits).unwrap()).await;
    assert_eq!(status(&keys, &limited).await, StatusCode::OK);
    assert_denied!(send(keys.layer(), get().with_key(&limited)).await, RejectionKind::RateLimited);
    keys.clock().advance(Duration::from_mins(1));
    assert_eq!(status(&keys, &limited).await, StatusCode::OK);

    let paying = keys.with_scopes(["a:read"]).with_credits(1).await;
    assert_eq!(status(&keys, &paying).await, StatusCode::OK);
    assert_denied!(send(keys.layer(), get().with_key(&paying)).await, "credits_exhausted");
}

#[tokio::test]
async fn keys_lie_in_the_store_and_have_the_format_that_a_test_chooses() {
    let (store, format) = (MemoryStore::new(), KeyFormat::new("acme").unwrap());
    let keys = TestKeys::over(store.clone()).with_manager(|manager| manager.with_format(format));
    let key = keys.with_scopes(["a:read"]).await;
    assert!(key.secret.expose().starts_with("acme_"));
    let answer = send(ApiKeyLayer::new(store), get().with_key(&key)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!format!("{:?}", get().with_key(&key)).contains(key.secret.expose()));
}

/// Also with characters that a query does not have as they are.
#[tokio::test]
async fn a_key_is_found_in_each_place_that_it_is_put_in() {
    const KEY: &str = "a+key/with=others&%20-0123456789";
    const PLAIN: &str = "a-key-of-plain-characters-0123456789";
    let sources = [
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::header_scheme("authorization", "Token").unwrap(),
        KeySource::header_scheme("x-auth", "Token").unwrap(),
        KeySource::basic(),
        KeySource::query("a key").unwrap(),
        KeySource::cookie("key").unwrap(),
    ];
    // A path does not have them at all.
    let paths = ["/orders", "/"].map(|prefix| KeySource::path_segment(prefix).unwrap());
    let all = sources.map(|source| (source, KEY)).into_iter();
    for (source, key) in all.chain(paths.map(|source| (source, PLAIN))) {
        let store = FixedStore::new().with_key("test", key).unwrap();
        let layer = ApiKeyLayer::new(store).with_sources([source.clone()]);
        let built = Request::get("/orders?page=1").with_key_in(&source, key).body(()).unwrap();
        for request in [built, get().with_key_in(&source, key)] {
            assert!(request.uri().query().unwrap().starts_with("page=1"));
            let answer = send(layer.clone(), request).await;
            assert_denied!(answer, RejectionKind::InsufficientScope);
        }
    }
    let request = Request::get("/").body(()).unwrap();
    let request = request.with_key_in(&KeySource::query("key").unwrap(), "1");
    assert_eq!(request.uri(), "/?key=1");
}

/// The words of a failed assertion.
fn failure(assert: impl FnOnce()) -> String {
    *catch_unwind(AssertUnwindSafe(assert)).unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn a_failed_assertion_says_what_came_instead() {
    let keys = TestKeys::new();
    let ask = |key: &IssuedKey| send(keys.layer(), get().with_key(key)).now_or_never().unwrap();
    let make = |key: tower_api_key::testing::TestKey| key.into_future().now_or_never().unwrap();
    let key = make(keys.any());
    let denied = ask(&key);
    let text = failure(|| assert_denied!(denied, RejectionKind::Revoked));
    assert!(text.contains("`revoked_key`, got 403 Forbidden `insufficient_scope`"), "{text}");
    assert!(text.contains(&key.record.id.to_string()), "{text}");
    let denied = ask(&key);
    let text = failure(|| assert_denied!(denied, "insufficient_scope", ["a:write"]));
    assert!(text.contains("for lack of `a:write`, got it for lack of `a:read`"), "{text}");
    let denied = ask(&key);
    let text = failure(|| assert_denied!(denied, "revoked"));
    assert!(text.contains("no denial has the code `revoked`"), "{text}");
    let admitted = ask(&make(keys.with_scopes(["a:read"])));
    let text = failure(|| assert_denied!(admitted, "revoked_key"));
    assert!(text.contains("got 200 OK: it was let in"), "{text}");
    let foreign = Response::builder().status(401).body(()).unwrap();
    let text = failure(|| assert_denied!(foreign, RejectionKind::Missing));
    assert!(text.contains("no `Rejection`"), "{text}");
}
