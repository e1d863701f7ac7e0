//! One layer inside another: an administrators' part of a service, say.

use std::{convert::Infallible, future::Future, num::NonZeroU32, sync::Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Request, header};
use tower::{Layer, ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, Credits, KeyManager, KeySource, NewKey, Owner, OwnerId,
    OwnerLayer, RateLimits, Rejection, RequireScopesLayer, UsageRecorder,
    credits::NewCredits,
    key::KeyRecord,
    limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
    nonzero,
    owner::OwnerResolver,
    store::{KeyRepository, Lookup, MemoryStore},
};

use crate::{
    stores::TestStore,
    support::{
        KEY, OTHER_KEY, clock, code, header_values, record_with, request, respond, respond_now,
    },
};

/// Users outside, with [`KEY`].
fn users() -> ApiKeyLayer {
    let user = record_with(KEY, |record| record.name = "user".into());
    ApiKeyLayer::new(TestStore::new([user])).with_realm("users")
}

/// Administrators inside, with [`OTHER_KEY`] in a header of its own.
fn administrators() -> ApiKeyLayer {
    let administrator = record_with(OTHER_KEY, |record| record.name = "administrator".into());
    ApiKeyLayer::new(TestStore::new([administrator]))
        .with_realm("administrators")
        .with_sources([KeySource::header("x-admin-key").unwrap()])
}

/// Sends the request through both; the answer's body is the name of whom the service saw.
fn send(
    outer: ApiKeyLayer,
    inner: ApiKeyLayer,
    headers: &[(&str, &str)],
) -> http::Response<bytes::Bytes> {
    let service = service_fn(async |request: Request<()>| {
        let key = request.extensions().get::<AuthenticatedKey>();
        let name = key.map_or("nobody", AuthenticatedKey::name).to_owned();
        Ok::<_, std::convert::Infallible>(http::Response::new(name))
    });
    respond_now(ServiceBuilder::new().layer(outer).layer(inner).service(service), request(headers))
}

#[test]
fn the_innermost_identity_is_seen() {
    let headers = [("x-api-key", KEY), ("x-admin-key", OTHER_KEY)];
    let response = send(users(), administrators(), &headers);
    assert_eq!(response.body(), "administrator");
    assert_eq!(header_values(&response, header::VARY), ["x-admin-key, x-api-key, authorization"]);
    assert_eq!(header_values(&response, header::CACHE_CONTROL), ["private"]);
}

#[test]
fn each_denies_for_itself() {
    let outside = send(users(), administrators(), &[("x-admin-key", OTHER_KEY)]);
    let inside = send(users(), administrators(), &[("x-api-key", KEY)]);
    for (response, challenges) in [
        (
            outside,
            vec![
                r#"ApiKey realm="users", in="header", name="x-api-key""#,
                r#"Bearer realm="users""#,
            ],
        ),
        // Answered within, it is left alone by the layer outside.
        (inside, vec![r#"ApiKey realm="administrators", in="header", name="x-admin-key""#]),
    ] {
        assert_eq!(code(&response), "missing_key");
        assert_eq!(header_values(&response, header::WWW_AUTHENTICATE), challenges);
        assert_eq!(header_values(&response, header::CACHE_CONTROL), ["no-store"]);
    }
}

#[test]
fn the_outer_layers_hook_and_uniformity_are_for_its_own_denials() {
    let outer = users().with_uniform_denials().with_rejection_response(
        |_: &Rejection, _: http::Response<bytes::Bytes>| panic!("not its denial"),
    );
    let response = send(outer, administrators(), &[("x-api-key", KEY), ("x-admin-key", KEY)]);
    assert_eq!(code(&response), "unknown_key");
}

/// The routes of the inner layer are for those that it lets in itself: what it asked nobody for
/// must not look like somebody.
#[test]
fn an_identity_from_outside_ends_where_the_inner_layer_lets_in_without_one() {
    for inner in [administrators().allow_anonymous(), administrators().with_bypass(|_| true)] {
        assert_eq!(send(users(), inner, &[("x-api-key", KEY)]).body(), "nobody");
    }
}

async fn owner_of(id: OwnerId) -> Result<Option<String>, Infallible> {
    Ok(Some(id.to_string()))
}

async fn length_of(id: OwnerId) -> Result<Option<usize>, Infallible> {
    Ok(Some(id.as_str().len()))
}

/// Sends a request with both keys through `outer`, owners of two types, and `inner`. Answers with
/// the key's name and owners that the service saw.
fn seen_inside(outer: ApiKeyLayer, inner: ApiKeyLayer) -> String {
    let service = service_fn(async |request: Request<()>| {
        let extensions = request.extensions();
        let key = extensions.get::<AuthenticatedKey>().map(|key| key.name().to_owned());
        let name = Owner::<String>::from_extensions(extensions).map(|name| name.to_string());
        let length = Owner::<usize>::from_extensions(extensions).map(|length| *length);
        Ok::<_, Infallible>(http::Response::new(format!("{key:?} {name:?} {length:?}")))
    });
    let service = ServiceBuilder::new()
        .layer(outer)
        .layer(OwnerLayer::new(Now(owner_of)).allow_anonymous())
        .layer(OwnerLayer::new(Now(length_of)).allow_anonymous())
        .layer(inner)
        .service(service);
    let response = respond_now(service, request(&[("x-api-key", KEY), ("x-admin-key", OTHER_KEY)]));
    String::from_utf8(response.body().to_vec()).unwrap()
}

/// Answers at once what `F` answers when it is first asked.
struct Now<F>(F);

#[async_trait]
impl<F, Fut, T> OwnerResolver for Now<F>
where
    F: Fn(OwnerId) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<T>, Infallible>> + Send,
    T: Send + Sync + 'static,
{
    type Owner = T;
    type Error = Infallible;

    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<T>>> {
        Some((self.0)(id.clone()).now_or_never()?.unwrap().map(Owner::new).into())
    }

    async fn resolve(&self, _: &OwnerId) -> Result<Option<Owner<T>>, Infallible> {
        panic!("it answers at once")
    }
}

#[test]
fn everything_that_an_outer_layer_attached_ends_at_the_next_layer() {
    let owned = || {
        let user = record_with(KEY, |record| {
            record.name = "user".into();
            record.owner = Some("ada".into());
        });
        ApiKeyLayer::new(TestStore::new([user]))
    };
    let by_admin_key = |key: &str| {
        ApiKeyLayer::new(TestStore::new([record_with(key, |record| record.name = "inner".into())]))
            .with_sources([KeySource::header("x-admin-key").unwrap()])
    };
    let (anonymous, bypass) = (owned().allow_anonymous(), owned().with_bypass(|_| true));
    let no_source = || owned().with_sources([]).allow_anonymous();
    for (outer, inner, seen) in [
        (owned(), by_admin_key(OTHER_KEY), r#"Some("inner") None None"#),
        (owned(), bypass.clone(), "None None None"),
        (owned(), no_source(), "None None None"),
        // The very same key, judged again: its owner was resolved for another layer.
        (owned(), owned(), r#"Some("user") None None"#),
        (anonymous, owned(), r#"Some("user") None None"#),
        (bypass.clone(), owned(), r#"Some("user") None None"#),
        (bypass.clone(), no_source(), "None None None"),
        (no_source(), bypass, "None None None"),
    ] {
        assert_eq!(seen_inside(outer, inner), seen);
    }
}

#[test]
fn owners_of_several_types_stand_beside_each_other() {
    let user = record_with(KEY, |record| record.owner = Some("ada".into()));
    let service = service_fn(async |request: Request<()>| {
        let name = Owner::<String>::from_extensions(request.extensions()).unwrap();
        let length = Owner::<usize>::from_extensions(request.extensions()).unwrap();
        assert!(Owner::<u8>::from_extensions(request.extensions()).is_none());
        Ok::<_, Infallible>(http::Response::new(format!("{} {}", *name, *length)))
    });
    let replaced = async |_: OwnerId| Ok::<_, Infallible>(Some("replaced".to_owned()));
    let service = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(TestStore::new([user])))
        .layer(OwnerLayer::new(Now(replaced)))
        .layer(OwnerLayer::new(Now(length_of)))
        .layer(OwnerLayer::new(Now(owner_of)))
        .service(service);
    assert_eq!(respond_now(service, request(&[("x-api-key", KEY)])).body(), "ada 3");
}

/// An owner that was resolved for one key is not the owner of a key that is put in its place: of another layer,
/// or of the same one.
#[test]
fn an_owner_belongs_to_the_key_that_it_was_resolved_for() {
    let layer = || {
        let owned = |key| record_with(key, |record| record.owner = Some("ada".into()));
        ApiKeyLayer::new(TestStore::new([KEY, OTHER_KEY].map(owned)))
    };
    let first = layer();
    for (replacing, key) in [(layer(), OTHER_KEY), (layer(), KEY), (first.clone(), OTHER_KEY)] {
        let other = Mutex::new(None);
        let keep = service_fn(async |request: Request<()>| {
            *other.lock().unwrap() = request.extensions().get::<AuthenticatedKey>().cloned();
            Ok::<_, Infallible>(http::Response::new(String::new()))
        });
        respond_now(replacing.layer(keep), request(&[("x-api-key", key)]));
        let other = other.into_inner().unwrap().unwrap();
        let service = service_fn(async |mut request: Request<()>| {
            let extensions = request.extensions_mut();
            assert!(Owner::<String>::from_extensions(extensions).is_none());
            // That of the key which stands there was resolved afterwards.
            assert_eq!(*Owner::<usize>::from_extensions(extensions).unwrap(), 3);
            extensions.remove::<AuthenticatedKey>();
            assert!(Owner::<usize>::from_extensions(extensions).is_none());
            Ok::<_, Infallible>(http::Response::new("seen".to_owned()))
        });
        let service = ServiceBuilder::new()
            .layer(first.clone())
            .layer(OwnerLayer::new(Now(owner_of)))
            .map_request(|mut request: Request<()>| {
                assert!(Owner::<String>::from_extensions(request.extensions()).is_some());
                request.extensions_mut().insert(other.clone());
                assert!(Owner::<String>::from_extensions(request.extensions()).is_none());
                request
            })
            .layer(OwnerLayer::new(Now(length_of)))
            .service(service);
        assert_eq!(respond_now(service, request(&[("x-api-key", KEY)])).body(), "seen");
    }
}

/// With the very same recorder of uses, but limits of its own.
#[test]
fn each_counts_what_the_other_does_not() {
    let store = MemoryStore::new();
    let small = record_with(OTHER_KEY, |record| record.details.tier = Some("small".into()));
    store.insert(&record_with(KEY, |_| {})).now_or_never().unwrap().unwrap();
    store.insert(&small).now_or_never().unwrap().unwrap();
    let rate = |quota| {
        let limits = |quota| Limits::new([Limit::new("test", quota).unwrap()]).unwrap();
        let tiers = Tiers::new()
            .with_default(limits(quota))
            .with_tier("small", limits(Quota::per_hour(nonzero!(2))));
        let limiter = LocalLimiter::builder().with_clock(clock()).build();
        RateLimits::new(limiter).with_tiers(tiers)
    };
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let layer = || ApiKeyLayer::new(store.clone()).with_clock(clock()).with_usage(usage.clone());
    let [many, few] = [100, 2].map(|most| rate(Quota::per_hour(NonZeroU32::new(most).unwrap())));
    let admin = KeySource::header("x-admin-key").unwrap();
    for (outer, inner) in [
        // The same key, which the layer outside does not limit.
        (layer(), layer().with_rate_limits(few)),
        // Another key of the same limits.
        (
            layer().with_rate_limits(many.clone()),
            layer().with_rate_limits(many).with_sources([admin]),
        ),
    ] {
        for status in [200, 200, 429] {
            let headers = [("x-api-key", KEY), ("x-admin-key", OTHER_KEY)];
            assert_eq!(send(outer.clone(), inner.clone(), &headers).status(), status);
        }
    }
}

/// With credits of its own.
#[tokio::test]
async fn each_spends_what_the_other_does_not() {
    let manager = |store: &MemoryStore| {
        let credits = Credits::builder(store.clone()).with_clock(clock()).build().unwrap();
        KeyManager::new(store.clone()).with_clock(clock()).with_credits(credits)
    };
    let [users, others] = [MemoryStore::new(), MemoryStore::new()];
    let of = async |manager: &KeyManager, remaining| {
        let credits = Some(NewCredits { remaining, refill: None });
        manager.create(NewKey { credits, ..NewKey::named("k") }).await.unwrap()
    };
    let (outer, inner) = (manager(&users), manager(&others));
    let issued = of(&outer, 100).await;
    // The very same key with another balance: the layer outside takes none of it.
    let record = KeyRecord::clone(&issued.record);
    others.insert(&record).await.unwrap();
    let service = ServiceBuilder::new().layer(outer.layer()).layer(inner.layer());
    let service = service.service(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(http::Response::new(String::new()))
    }));
    let response = respond(service, request(&[("x-api-key", issued.secret.expose())])).await;
    assert_eq!(code(&response), "credits_exhausted");
}

/// With the very same recorder of uses, and credits only inside.
#[tokio::test]
async fn what_the_layer_outside_does_not_spend_is_spent_each_time() {
    let [users, others] = [MemoryStore::new(), MemoryStore::new()];
    let credits = Credits::builder(others.clone()).with_clock(clock()).build().unwrap();
    let manager = KeyManager::new(others.clone()).with_clock(clock()).with_credits(credits);
    let credits = Some(NewCredits { remaining: 2, refill: None });
    let issued = manager.create(NewKey { credits, ..NewKey::named("k") }).await.unwrap();
    let mut without = KeyRecord::clone(&issued.record);
    without.details.credits = None;
    users.insert(&without).await.unwrap();
    let usage = UsageRecorder::builder(others).with_clock(clock()).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(users).with_clock(clock()).with_usage(usage.clone()))
        .layer(manager.layer().with_usage(usage))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(http::Response::new(String::new()))
        }));
    for status in [200, 200, 429] {
        let headers = [("x-api-key", issued.secret.expose())];
        assert_eq!(respond(service.clone(), request(&headers)).await.status(), status);
    }
}

/// What layers between the denial and the outer layer added stays: without its CORS headers, a
/// browser could not read the denial.
#[test]
fn a_denial_from_inside_keeps_the_headers_that_were_added_on_its_way() {
    let add_headers = |mut response: http::Response<_>| {
        let headers = response.headers_mut();
        headers
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, "https://shop.example".parse().unwrap());
        headers.append(header::SET_COOKIE, "a=1".parse().unwrap());
        headers.append(header::SET_COOKIE, "b=2".parse().unwrap());
        headers.insert(header::CACHE_CONTROL, "public".parse().unwrap());
        headers.insert(header::CONTENT_LENGTH, "12345".parse().unwrap());
        response
    };
    let user = record_with(KEY, |_| {});
    let service = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(TestStore::new([user])).with_realm("users"))
        .map_response(add_headers)
        .layer(RequireScopesLayer::all(["orders:read"]).unwrap())
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));
    let response = respond_now(service, request(&[("x-api-key", KEY)]));
    assert_eq!(code(&response), "insufficient_scope");
    let values = |name| header_values(&response, name);
    assert_eq!(values(header::ACCESS_CONTROL_ALLOW_ORIGIN), ["https://shop.example"]);
    assert_eq!(values(header::SET_COOKIE), ["a=1", "b=2"]);
    assert_eq!(values(header::CACHE_CONTROL), ["no-store"]);
    assert_eq!(values(header::CONTENT_TYPE), ["application/problem+json"]);
    assert_eq!(values(header::CONTENT_LENGTH), [""; 0]);
    assert_eq!(values(header::WWW_AUTHENTICATE).len(), 2);
}
