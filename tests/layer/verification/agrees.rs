//! Whether a key is good is what the layer says of a request with it.

use std::net::IpAddr;

use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::json;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{ApiKeyLayer, KeyFormat, RequireScopesLayer, Scopes, key::KeyRecord};

use super::{outcome, unguarded};
use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, code, record_with, respond, with_key},
};

const SCOPES: [&str; 6] = ["a", "a:b", "a:*", "*", "b", "a:b:c"];
const ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.200", "2001:db8::1", "::ffff:192.0.2.1"];

fn some_scopes() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(&SCOPES[..], 0..4)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(KEY.to_owned()),
        1 => Just(OTHER_KEY.to_owned()),
        1 => Just(format!("  {KEY} ")),
        1 => Just(KEY.to_uppercase()),
        1 => Just(format!("Bearer {KEY}")),
        1 => "[!-~]{0,40}",
        1 => "[ -~]{0,40}",
        1 => ".{0,20}",
    ]
}

/// A record of [`KEY`] with anything that decides.
fn stored() -> impl Strategy<Value = KeyRecord> {
    let time = || prop::option::weighted(0.3, -2_i64..3);
    let networks = prop::sample::subsequence(vec!["192.0.2.0/25", "2001:db8::/64"], 0..2);
    (any::<bool>(), time(), time(), time(), networks, some_scopes(), prop::option::of("[a-z]{1,8}"))
        .prop_map(|(is_disabled, start, end, revoked, networks, scopes, owner)| {
            record_with(KEY, |record| {
                record.disabled = is_disabled && start.is_some();
                record.details.not_before = start.map(at);
                record.expires_at = end.map(at);
                record.details.revoked_at = revoked.filter(|time| *time < 0).map(at);
                record.details.allowed_addresses =
                    networks.iter().map(|network| network.parse().unwrap()).collect();
                record.scopes = Scopes::parse(scopes).unwrap();
                record.owner = owner.map(Into::into);
            })
        })
}

/// The decision on a request with the key in a header: `good`, or the code.
async fn decided(
    layer: &ApiKeyLayer,
    key: &str,
    scopes: &[&str],
    address: Option<&str>,
) -> Option<String> {
    let mut request = with_key(KEY);
    // No request holds other keys.
    let value = HeaderValue::from_bytes(key.as_bytes()).ok()?;
    request.headers_mut().insert("x-api-key", value);
    if let Some(address) = address {
        request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
    }
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let layer =
        layer.clone().with_client_address(|request| request.extensions.get::<IpAddr>().copied());
    let service = ServiceBuilder::new()
        .layer(layer)
        .layer(RequireScopesLayer::all(scopes.iter().copied()).unwrap())
        .service(inner);
    let response = respond(service, request).await;
    Some(if response.status() == 200 { "good".to_owned() } else { code(&response) })
}

proptest! {
    #[test]
    fn the_answer_is_the_decision_of_the_layer(
        record in stored(),
        key in key(),
        scopes in some_scopes(),
        address in prop::option::of(prop::sample::select(&ADDRESSES[..])),
        is_waiting in any::<bool>(),
        is_uniform in any::<bool>(),
        is_prefixed in any::<bool>(),
        spend in any::<bool>(),
    ) {
        let store = if is_waiting { TestStore::waiting([record]) } else { TestStore::new([record]) };
        let mut layer = ApiKeyLayer::new(store).with_clock(clock());
        if is_uniform {
            layer = layer.with_uniform_denials();
        }
        if is_prefixed {
            layer = layer.with_formats([KeyFormat::new("shop").unwrap(), KeyFormat::opaque()]);
        }
        let app = unguarded(layer.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (decided, answered) = runtime.block_on(async {
            let body = json!({ "key": key, "scopes": scopes, "address": address, "spend": spend });
            (decided(&layer, &key, &scopes, address).await, outcome(&app, body).await)
        });
        let is_malformed = if is_uniform { "invalid_key" } else { "malformed_key" };
        prop_assert_eq!(answered, decided.unwrap_or_else(|| is_malformed.to_owned()));
    }
}
