//! A service behind nginx's `auth_request`, which lets a request through when the service answers it
//! with 2xx, whatever a client sends along.

use std::{fs, net::SocketAddr, path::Path};

use axum::{Router, routing::any};
use serde_json::json;
use tower_api_key::{ApiKeyLayer, store::FixedStore};

use crate::{
    nginx_configuration,
    process::curl,
    support::{Ask, directory, shared},
    web_server::{self, WebServer},
};

const KEY: &str = "a-key-behind-nginx-0123456789";

/// One that asks this service about every request for its file.
fn nginx(service: SocketAddr, folder: &Path) -> WebServer {
    web_server::start("nginx", folder, |free| {
        let server = format!(
            "server {{
                listen {free};
                location / {{
                    auth_request /auth;
                    root {root}/files;
                }}
                location = /auth {{
                    internal;
                    proxy_pass http://{service};
                    proxy_pass_request_body off;
                    proxy_set_header Content-Length \"\";
                }}
            }}",
            root = folder.display(),
        );
        nginx_configuration::configure(folder, &server)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_turns_a_denial_into_a_way_past_nginx() {
    if web_server::is_left_out("nginx") {
        return;
    }
    // A layer as it is made, which speaks gRPC to clients of gRPC.
    let store = FixedStore::new().with_key("behind nginx", KEY).unwrap();
    let router = Router::new().fallback(any(async || "let in")).layer(ApiKeyLayer::new(store));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let folder = directory();
    fs::create_dir(folder.path().join("files")).unwrap();
    fs::write(folder.path().join("files/secret.txt"), "protected").unwrap();
    let (good, bad) = (format!("X-API-Key: {KEY}"), "X-API-Key: another-key-0123456789");
    let (grpc, web) =
        ("Content-Type: application/grpc", "Content-Type: application/grpc-web+proto");
    let te = "TE: trailers";
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: GET"];
    tokio::task::spawn_blocking(move || {
        let nginx = nginx(service, folder.path());
        let through = |headers: &[&str]| {
            let url = format!("http://{}/secret.txt", nginx.address);
            let headers = headers.iter().flat_map(|header| ["-H", header]);
            let reply = curl([&*url].into_iter().chain(headers));
            (reply.status, reply.body.contains("protected"))
        };
        assert_eq!(through(&[&good]), (200, true));
        assert_eq!(through(&[&good, grpc, te]), (200, true));
        for headers in [
            &[][..],
            &[bad],
            &[grpc],
            &[grpc, te],
            &[bad, grpc, te],
            &[web],
            &[web, te, "X-Grpc-Web: 1"],
            &preflight,
        ] {
            assert_eq!(through(headers), (401, false), "{headers:?}");
        }
    })
    .await
    .unwrap();
}

/// A cache in front of the reference server keeps nothing that a key opens, for this key or another.
#[test]
fn a_cache_gives_no_key_the_answer_to_another() {
    if web_server::is_left_out("nginx") {
        return;
    }
    let server = shared();
    let folder = directory();
    let nginx = nginx_configuration::start_cache(server.server.address(), folder.path());
    let keys =
        ["first", "second"].map(|name| server.create(&json!({ "name": name, "scopes": ["*"] })));
    for path in ["/me/key", "/articles", "/me/key"] {
        let url = format!("http://{}{path}", nginx.address);
        for header in ["X-API-Key: ", "Authorization: Bearer "] {
            for key in &keys {
                for method in [&["-I"][..], &[]] {
                    let header = format!("{header}{}", key.key);
                    let reply =
                        curl([&*url, "-H", &header].into_iter().chain(method.iter().copied()));
                    assert_eq!(reply.status, 200, "{reply:?}");
                    assert_eq!(reply.header("x-cache-status"), Some("MISS"), "{reply:?}");
                    let is_of_key = reply.body.contains(&key.id);
                    assert_eq!(is_of_key, path == "/me/key" && method.is_empty(), "{reply:?}");
                }
            }
            let denied = curl([&*url]);
            assert_eq!((denied.status, denied.header("x-cache-status")), (401, Some("MISS")));
        }
    }
}
