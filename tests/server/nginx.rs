//! A service behind nginx's `auth_request`, which lets a request through when the service answers it
//! with 2xx, whatever a client sends along.

use std::{fs, net::SocketAddr, path::Path};

use axum::{Router, routing::any};
use tower_api_key::{ApiKeyLayer, store::FixedStore};

use crate::{
    process::curl,
    support::directory,
    web_server::{self, WebServer},
};

const KEY: &str = "a-key-behind-nginx-0123456789";

/// One that asks this service about every request for its file.
fn nginx(service: SocketAddr, folder: &Path) -> WebServer {
    web_server::start("nginx", folder, |free| {
        let root = folder.display();
        let configuration = format!(
            "daemon off;
            master_process off;
            pid {root}/pid;
            error_log {root}/log;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {root}/body;
                proxy_temp_path {root}/proxy;
                fastcgi_temp_path {root}/fastcgi;
                uwsgi_temp_path {root}/uwsgi;
                scgi_temp_path {root}/scgi;
                server {{
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
                }}
            }}"
        );
        fs::write(folder.join("nginx.conf"), configuration).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        vec!["-e".into(), path("log"), "-c".into(), path("nginx.conf")]
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
