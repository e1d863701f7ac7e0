//! One layer inside another: an administrators' part of a service, say.

use std::{convert::Infallible, future::Future, sync::Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Request, header};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeySource, Owner, OwnerId, OwnerLayer, Rejection,
    RequireScopesLayer, owner::OwnerResolver, store::Lookup,
};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, code, header_values, record_with, request, respond_now},
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

/// An owner that was resolved for one key is not the owner of a key that is put in its place.
#[test]
fn an_owner_belongs_to_the_key_that_it_was_resolved_for() {
    let store = |key| {
        let record = record_with(key, |record| record.owner = Some("ada".into()));
        ApiKeyLayer::new(TestStore::new([record]))
    };
    let other = Mutex::new(None);
    let keep = service_fn(async |request: Request<()>| {
        *other.lock().unwrap() = request.extensions().get::<AuthenticatedKey>().cloned();
        Ok::<_, Infallible>(http::Response::new(String::new()))
    });
    let layers = ServiceBuilder::new().layer(store(OTHER_KEY));
    respond_now(layers.service(keep), request(&[("x-api-key", OTHER_KEY)]));
    let other = other.into_inner().unwrap().unwrap();
    let service = service_fn(async |mut request: Request<()>| {
        assert!(Owner::<String>::from_extensions(request.extensions()).is_some());
        request.extensions_mut().insert(other.clone());
        assert!(Owner::<String>::from_extensions(request.extensions()).is_none());
        request.extensions_mut().remove::<AuthenticatedKey>();
        assert!(Owner::<String>::from_extensions(request.extensions()).is_none());
        Ok::<_, Infallible>(http::Response::new("seen".to_owned()))
    });
    let service = ServiceBuilder::new()
        .layer(store(KEY))
        .layer(OwnerLayer::new(Now(owner_of)))
        .service(service);
    assert_eq!(respond_now(service, request(&[("x-api-key", KEY)])).body(), "seen");
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
