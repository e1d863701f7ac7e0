//! The servers: with a decision, and without one.

use std::{fs, io, net::SocketAddr, path::Path};

use axum::{Router, extract::ConnectInfo, routing::get};
use tokio::{net::TcpListener, runtime::Builder};
use tonic::{
    Request, Response, Status,
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tower_api_key::{
    ext_authz::{DownstreamAddress, ExtAuthz},
    forward_auth::{ForwardAuth, ForwardAuthBuilder},
    scope::ScopeRule,
};

use super::envoy::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption},
        service::auth::v3::{
            CheckRequest, CheckResponse, OkHttpResponse,
            authorization_server::{Authorization, AuthorizationServer},
            check_response::HttpResponse,
        },
    },
    google::rpc,
};
use crate::{keys::Keys, ours};

/// The names of all, each after the bare one that it is compared with.
pub const SERVERS: [&str; 4] = ["bare-axum", "forward-auth", "bare-tonic", "ext-authz"];

/// Keys in the store.
const KEYS: usize = 1_000;

/// An identity of the same length as those that are answered.
const IDENTITY: [(&str, &str); 3] = [
    ("x-api-key-id", "0198c0de-0000-7000-8000-000000000001"),
    ("x-api-key-owner", "user-0000001"),
    ("x-api-key-scopes", "orders:read stock:write"),
];

/// Serves until it is ended, and writes the keys that are good to a file of the folder.
///
/// # Errors
///
/// Where it cannot.
pub fn serve(name: &str, port: u16, folder: &Path) -> io::Result<()> {
    let keys = Keys::new(KEYS);
    fs::write(folder.join("keys"), keys.sent().join("\n"))?;
    let layer = ours::defaults(&keys)
        .with_client_address(|request| request.extensions.get().map(DownstreamAddress::ip));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        match name {
            "bare-axum" => {
                let route = get(async || (IDENTITY, ""));
                axum::serve(listener, Router::new().route("/auth", route)).await
            }
            "forward-auth" => {
                let builder = ForwardAuth::caddy(layer).trusting_peers(loopback(), |request| {
                    Some(request.extensions.get::<ConnectInfo<SocketAddr>>()?.ip())
                });
                let service = ruled(builder)?;
                let router = Router::new().route_service("/auth", service);
                let router = router.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, router).await
            }
            "bare-tonic" => {
                let server = Server::builder().add_service(AuthorizationServer::new(Constant));
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                server.serve_with_incoming(incoming).await.map_err(io::Error::other)
            }
            "ext-authz" => {
                let builder = ExtAuthz::builder(layer).trusting_peers(loopback(), |request| {
                    Some(request.extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip())
                });
                let service = ruled(builder)?;
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                let server = Server::builder().add_service(service);
                server.serve_with_incoming(incoming).await.map_err(io::Error::other)
            }
            other => Err(io::Error::other(format!("no server {other}"))),
        }
    })
}

fn loopback() -> [ipnet::IpNet; 1] {
    [ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8).into()]
}

/// With some rules beside the one that counts.
fn ruled<S>(mut builder: ForwardAuthBuilder<S>) -> io::Result<S> {
    let scope = ScopeRule::scope("orders:read").map_err(io::Error::other)?;
    for path in ["/v1/stock/{id}", "/v1/orders/{id}", "/v1/files/{*path}", "/v1/orders"] {
        builder = builder.rule_for_all_methods(path, scope.clone()).map_err(io::Error::other)?;
    }
    builder.build().map_err(io::Error::other)
}

/// A service of the same messages that lets in every request as one identity.
struct Constant;

#[tonic::async_trait]
impl Authorization for Constant {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let option = |(key, value): (&str, &str)| HeaderValueOption {
            header: Some(HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                raw_value: Vec::new(),
            }),
            append: Some(false),
            append_action: 0,
            keep_empty_value: true,
        };
        let ok = OkHttpResponse {
            headers: IDENTITY.into_iter().map(option).collect(),
            ..OkHttpResponse::default()
        };
        Ok(Response::new(CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(ok)),
        }))
    }
}
