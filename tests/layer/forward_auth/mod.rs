//! `ForwardAuth`: the decision over the original request, and how each proxy is told of it.

mod answers;
pub(crate) mod cases;
mod refused;
mod traefik;

use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use ipnet::IpNet;
use tower_api_key::{
    ApiKeyLayer, OwnerId, Scopes,
    forward_auth::{ForwardAuth, ForwardAuthBuilder},
    scope::ScopeRule,
};

use crate::{
    stores::TestStore,
    support::{KEY, clock, record_with, request, respond},
};

pub(crate) type Flavour = fn(ApiKeyLayer) -> ForwardAuthBuilder;

/// Each flavour, with its headers of the method, the scheme, the host and the target.
const FLAVOURS: [(Flavour, [&str; 4]); 4] = [
    (ForwardAuth::nginx, ORIGINAL),
    (ForwardAuth::haproxy, ORIGINAL),
    (ForwardAuth::traefik, FORWARDED),
    (ForwardAuth::caddy, FORWARDED),
];

const ORIGINAL: [&str; 4] =
    ["x-original-method", "x-original-proto", "x-original-host", "x-original-uri"];
pub(crate) const FORWARDED: [&str; 4] =
    ["x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"];

/// Requests come from here unless a test says otherwise.
pub(crate) const PROXY: &str = "10.0.0.9";

pub(crate) fn proxies() -> [IpNet; 1] {
    ["10.0.0.0/8".parse().unwrap()]
}

pub(crate) fn scope(scope: &str) -> ScopeRule {
    ScopeRule::scope(scope).unwrap()
}

/// A layer that knows [`KEY`], with an owner and one scope.
pub(crate) fn layer() -> ApiKeyLayer {
    let record = record_with(KEY, |record| {
        record.owner = Some(OwnerId::new("Zoë"));
        record.scopes = Scopes::parse(["orders:read"]).unwrap();
    });
    ApiKeyLayer::new(TestStore::new([record])).with_clock(clock())
}

pub(crate) fn with_rules<S>(builder: ForwardAuthBuilder<S>) -> ForwardAuthBuilder<S> {
    builder
        .trusting_peers(proxies(), |request| request.extensions.get::<IpAddr>().copied())
        .rule(Method::GET, "/orders/{id}", scope("orders:read"))
        .and_then(|builder| builder.rule(Method::POST, "/orders", scope("orders:write")))
        .and_then(|builder| builder.rule_for_all_methods("/profile", ScopeRule::all([])))
        .unwrap()
}

pub(crate) fn service(flavour: Flavour, layer: ApiKeyLayer) -> ForwardAuth {
    with_rules(flavour(layer)).build().unwrap()
}

/// The request of a proxy about this one, with further headers of the client's.
pub(crate) fn about(
    family: [&str; 4],
    method: &str,
    target: &str,
    sent: &[(&str, &str)],
) -> Request<()> {
    let values = [method, "https", "api.example", target];
    let headers: Vec<_> = family.into_iter().zip(values).chain(sent.iter().copied()).collect();
    from(PROXY, request(&headers))
}

pub(crate) fn from(peer: &str, mut request: Request<()>) -> Request<()> {
    request.extensions_mut().insert(peer.parse::<IpAddr>().unwrap());
    request
}

pub(crate) fn ask(service: &ForwardAuth, request: Request<()>) -> Response<Bytes> {
    // The store may have to be waited for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let response = runtime.block_on(respond(service.clone(), request));
    assert_eq!(response.headers()["cache-control"], "no-store");
    for name in ["x-api-key-id", "x-api-key-owner", "x-api-key-scopes"] {
        assert_eq!(response.headers().get_all(name).iter().count(), 1, "{name}");
    }
    response
}

pub(crate) fn good() -> (&'static str, &'static str) {
    ("x-api-key", KEY)
}

/// The status that a client of this flavour's proxy is to see.
pub(crate) fn real_status(response: &Response<Bytes>) -> u16 {
    let told = response.headers().get("x-api-key-status");
    told.map_or(response.status().as_u16(), |told| told.to_str().unwrap().parse().unwrap())
}
