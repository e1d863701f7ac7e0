//! The two services behind a proxy: one that decides, and one that tells what it was sent.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::{HeaderName, HeaderValue, Method},
};
use tokio::net::TcpListener;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, OwnerId, RateLimits, Scopes, Timestamp,
    forward_auth::{ForwardAuth, ForwardAuthBuilder},
    key::KeyRecord,
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
    scope::ScopeRule,
    store::{KeyDigest, KeyStore, StoreError, StoreErrorKind},
};

use crate::proxies::Kind;

pub(crate) const KEY: &str = "good-key-behind-proxies-0123456789";
/// Good for one request an hour.
pub(crate) const LIMITED_KEY: &str = "limited-key-behind-proxies-0123456789";
/// The store fails when it is asked for this one.
pub(crate) const SILENT_KEY: &str = "silent-key-behind-proxies-0123456789";

/// Knows two keys, and is down for a third.
pub(crate) struct Keys(pub(crate) Vec<Arc<KeyRecord>>);

#[async_trait::async_trait]
impl KeyStore for Keys {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if KeyHasher::sha256().digest(SILENT_KEY) == *digest {
            return Err(StoreError::new(StoreErrorKind::Unavailable));
        }
        Ok(self.0.iter().find(|record| record.digest == *digest).cloned())
    }
}

/// Where both listen, and the id of [`KEY`].
pub(crate) struct Services {
    pub(crate) forward_auth: SocketAddr,
    pub(crate) application: SocketAddr,
    pub(crate) id: String,
}

pub(crate) fn record(key: &str, change: impl FnOnce(&mut KeyRecord)) -> Arc<KeyRecord> {
    let now = Timestamp::from_unix_millis(1_795_392_000_000);
    let id = KeyId::generate(now).unwrap();
    let mut record = KeyRecord::new(id, KeyHasher::sha256().digest(key), "behind a proxy", now);
    record.owner = Some(OwnerId::new("Zoë"));
    record.scopes = Scopes::parse(["orders:read"]).unwrap();
    change(&mut record);
    record.into()
}

/// Starts both on the runtime of the test, with which they end.
pub(crate) async fn start(flavour: fn(ApiKeyLayer) -> ForwardAuthBuilder) -> Services {
    let good = record(KEY, |_| {});
    let id = good.id.to_string();
    let limited = record(LIMITED_KEY, |record| {
        let limit = Limit::new("requests", Quota::per_hour(nonzero!(1))).unwrap();
        record.details.limits = Limits::new([limit]).unwrap();
    });
    let layer = ApiKeyLayer::new(Keys(vec![good, limited]))
        .with_rate_limits(RateLimits::new(LocalLimiter::builder().build()));
    let scope = |scope| ScopeRule::scope(scope).unwrap();
    let forward_auth = flavour(layer)
        .trusting_peers(["127.0.0.1/32".parse().unwrap()], |request| {
            let peer: &ConnectInfo<SocketAddr> = request.extensions.get()?;
            Some::<IpAddr>(peer.ip())
        })
        .rule(Method::GET, "/orders/{id}", scope("orders:read"))
        .and_then(|builder| builder.rule(Method::POST, "/orders", scope("orders:write")))
        .and_then(|builder| builder.rule_for_all_methods("/profile", ScopeRule::all([])))
        .and_then(ForwardAuthBuilder::build)
        .unwrap();
    let application = listen(Router::new().fallback(told)).await;
    let forward_auth = listen(Router::new().route_service("/auth", forward_auth)).await;
    Services { forward_auth, application, id }
}

pub(crate) async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The request line and the headers that the application was sent, a line each.
async fn told(request: Request) -> String {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let first = format!("reached {} {}", request.method(), request.uri());
    let lines: Vec<_> = std::iter::once(first).chain(request.headers().iter().map(line)).collect();
    lines.join("\n") + "\n"
}

/// The services of a flavour.
pub(crate) fn flavour(proxy: Kind) -> fn(ApiKeyLayer) -> ForwardAuthBuilder {
    match proxy {
        Kind::Nginx => ForwardAuth::nginx,
        Kind::Caddy => ForwardAuth::caddy,
        Kind::HaProxy => ForwardAuth::haproxy,
    }
}
