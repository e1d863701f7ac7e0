//! One layer inside another: an administrators' part of a service, say.

use http::{Request, header};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, KeySource, Rejection, RequireScopesLayer};

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
    assert_eq!(header_values(&response, header::VARY), ["x-admin-key", "x-api-key, authorization"]);
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
        |_: &Rejection, _: http::Response<http_body_util::Full<bytes::Bytes>>| {
            panic!("not its denial")
        },
    );
    let response = send(outer, administrators(), &[("x-api-key", KEY), ("x-admin-key", KEY)]);
    assert_eq!(code(&response), "unknown_key");
}

#[test]
fn an_identity_from_outside_is_kept_where_the_inner_layer_asks_for_none() {
    for inner in [administrators().allow_anonymous(), administrators().with_bypass(|_| true)] {
        assert_eq!(send(users(), inner, &[("x-api-key", KEY)]).body(), "user");
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
