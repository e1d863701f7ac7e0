//! Layers inside one that passes preflights: only a preflight goes through them without a key.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full, combinators::BoxBody};
use tower::{ServiceBuilder, service_fn, util::BoxCloneSyncService};
use tower_api_key::{
    ApiKeyLayer, KeySource, OwnerId, OwnerLayer, RateLimits, RequireScopesLayer,
    auth::PassPreflightsLayer, extra_cost::ExtraCostLayer, limit::LocalLimiter, nonzero,
};

use super::{layer, outcome, preflight};
use crate::support::{request_to, respond};

type Boxed = BoxBody<Bytes, Infallible>;
type Inside = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Boxed>, Infallible>;

/// A service behind each of the layers that ask for an identity, and behind all of them.
fn behind_each() -> [(&'static str, Inside); 4] {
    let inner = || {
        service_fn(async |_: Request<Empty<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        })
    };
    let scopes = RequireScopesLayer::all(["orders:read"]).unwrap();
    let owners = OwnerLayer::new(async |id: OwnerId| Ok::<_, Infallible>(Some(id)));
    let charge = ExtraCostLayer::new(RateLimits::new(LocalLimiter::new()), nonzero!(1));
    let all = ServiceBuilder::new()
        .layer(scopes.clone())
        .layer(owners.clone())
        .layer(charge.clone())
        .map_response(boxed)
        .service(inner());
    let each = || ServiceBuilder::new().map_response(boxed);
    [
        ("scopes", BoxCloneSyncService::new(each().layer(scopes).service(inner()))),
        ("owners", BoxCloneSyncService::new(each().layer(owners).service(inner()))),
        ("charge", BoxCloneSyncService::new(each().layer(charge).service(inner()))),
        ("all", BoxCloneSyncService::new(ServiceBuilder::new().map_response(boxed).service(all))),
    ]
}

fn boxed<B>(response: Response<B>) -> Response<Boxed>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    response.map(BoxBody::new)
}

#[tokio::test]
async fn a_preflight_goes_on() {
    for (name, inside) in behind_each() {
        let service = ServiceBuilder::new().layer(layer().pass_cors_preflights()).service(inside);
        assert_eq!(outcome(&respond(service, preflight(&[])).await), "passed", "{name}");
    }
}

/// Not even a request that has the shape of a preflight, if it came in for another reason.
#[tokio::test]
async fn what_else_came_in_without_a_key_does_not_go_on() {
    let get = || request_to::<&str>("/", &[]).map(|()| Empty::new());
    for (name, inside) in behind_each() {
        for lenient in [layer().allow_anonymous(), layer().with_bypass(|_| true)] {
            for request in [get(), preflight(&[]), preflight(&[("te", "trailers")])] {
                let plain = ServiceBuilder::new().layer(lenient.clone()).service(inside.clone());
                let answer = respond(plain, request).await;
                assert_eq!(outcome(&answer), "missing_key", "{name}");
            }
            for request in [get(), preflight(&[("te", "trailers")])] {
                let passing = lenient.clone().pass_cors_preflights();
                let service = ServiceBuilder::new().layer(passing).service(inside.clone());
                assert_eq!(outcome(&respond(service, request).await), "missing_key", "{name}");
            }
        }
    }
}

/// The mark is of the layer that set it: the next one removes it.
#[tokio::test]
async fn the_next_layer_judges_a_preflight_again() {
    let admins = || layer().with_sources([KeySource::header("x-admin-key").unwrap()]);
    let pass = || layer().pass_cors_preflights();
    for (name, inside) in behind_each() {
        for (inner, expected) in [
            (admins(), "missing_key"),
            // In without an identity, and no longer as a preflight.
            (admins().allow_anonymous(), "missing_key"),
            (admins().with_bypass(|_| true), "missing_key"),
        ] {
            let service = ServiceBuilder::new().layer(pass()).layer(inner).service(inside.clone());
            assert_eq!(outcome(&respond(service, preflight(&[])).await), expected, "{name}");
        }
        let twice = |outer: PassPreflightsLayer| {
            ServiceBuilder::new()
                .layer(outer)
                .layer(admins().pass_cors_preflights())
                .service(inside.clone())
        };
        assert_eq!(outcome(&respond(twice(pass()), preflight(&[])).await), "passed", "{name}");
    }
    // The inner layer alone decides, also where it does not know how the outer one decided.
    let lenient: ApiKeyLayer = layer().allow_anonymous();
    for (name, inside) in behind_each() {
        let service = ServiceBuilder::new()
            .layer(lenient.clone())
            .layer(admins().pass_cors_preflights())
            .service(inside);
        assert_eq!(outcome(&respond(service, preflight(&[])).await), "passed", "{name}");
    }
}

/// A layer in between that reads the method from somewhere else.
#[tokio::test]
async fn a_preflight_that_becomes_another_request_does_not_go_on() {
    for (name, inside) in behind_each() {
        for method in [Method::POST, Method::GET] {
            let other = method.clone();
            let change = move |mut request: Request<_>| {
                *request.method_mut() = other.clone();
                request
            };
            let service = ServiceBuilder::new()
                .layer(layer().pass_cors_preflights())
                .map_request(change)
                .service(inside.clone());
            let answer = respond(service, preflight(&[])).await;
            assert_eq!(outcome(&answer), "missing_key", "{name} {method}");
        }
    }
}
