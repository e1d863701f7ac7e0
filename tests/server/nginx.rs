//! A service behind nginx's `auth_request`, which lets a request through when the service answers it
//! with 2xx, whatever a client sends along.

use std::{
    env, fs,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::any};
use tower_api_key::{ApiKeyLayer, store::FixedStore};

use crate::{process::curl, support::directory};

/// Far longer than nginx takes to start.
const TIMEOUT: Duration = Duration::from_mins(1);

const KEY: &str = "a-key-behind-nginx-0123456789";

/// A running nginx, ended when dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its only process: without a master, it has no workers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where Debian puts it is not in everybody's path.
const PROGRAMS: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

fn is_left_out() -> bool {
    let without = env::var("TEST_WITHOUT").unwrap_or_default();
    let is_left_out = without.split(',').any(|name| name.trim() == "nginx");
    if is_left_out {
        let _ = writeln!(std::io::stderr(), "TEST_WITHOUT: the tests with nginx are left out");
    }
    is_left_out
}

/// One that asks this service about every request for its file.
fn nginx(service: SocketAddr, folder: &Path) -> Nginx {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let root = folder.display();
        let configuration = format!(
            "daemon off;
            master_process off;
            pid {root}/pid;
            error_log {root}/error.log;
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
        let start = |program: &&str| {
            Command::new(program)
                .arg("-e")
                .arg(folder.join("error.log"))
                .arg("-c")
                .arg(folder.join("nginx.conf"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let Some(child) = PROGRAMS.iter().find_map(start) else {
            panic!(
                "there is no nginx to test with: install it, as scripts/test does, or leave its \
                 tests out with TEST_WITHOUT=nginx"
            )
        };
        let mut nginx = Nginx { child, address: free };
        // Another program may have taken the port meanwhile: then nginx ends.
        while nginx.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(free).is_ok() {
                return nginx;
            }
            assert!(Instant::now() < give_up, "nginx does not listen");
            thread::yield_now();
        }
        let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        assert!(log.contains("Address already in use"), "nginx does not start: {log}");
        assert!(Instant::now() < give_up, "nginx does not start: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_turns_a_denial_into_a_way_past_nginx() {
    if is_left_out() {
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
