//! Envoy's filter `ext_authz`, as grpcio asks with Envoy's messages.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    guide,
    process::Server,
    python::run,
    started::{Place, ask},
};

const FIRST: &str = "proxy = \"envoy\"\npeers = [\"127.0.0.1\"]";

/// A place with the rules of the guide, and Envoy as the proxy.
fn place(forward_auth: &str) -> Place {
    let place = Place::on_sqlite();
    let (_, rules) = guide::block("toml").split_once("[[rule]]").map(owned).unwrap();
    place.configure(&format!("[forward_auth]\n{forward_auth}\n\n[[rule]]{rules}"));
    place
}

fn owned((first, rest): (&str, &str)) -> (String, String) {
    (first.to_owned(), rest.to_owned())
}

/// A request that Envoy asks about.
fn asked(sidecar: &Server, path: &str, headers: &[(&str, &str)]) -> Value {
    let to: SocketAddr = ([127, 0, 0, 1], sidecar.address().port()).into();
    json!({
        "address": to.to_string(), "client": "192.0.2.7", "method": "GET", "path": path,
        "host": "api.example", "scheme": "https", "headers": headers, "raw": true, "body": "",
    })
}

fn header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let headers = answer["headers"].as_array()?;
    headers.iter().find(|pair| pair[0] == name)?[1].as_str()
}

#[tokio::test]
async fn envoy_asks_by_the_rules_of_the_file() {
    let place = place(FIRST);
    let good = place.key(&["--scope", "orders:read", "--owner", "user-1"]);
    let here = place.key(&["--scope", "orders:read", "--allow", "192.0.2.0/24"]);
    let elsewhere = place.key(&["--scope", "orders:read", "--allow", "198.51.100.0/24"]);
    let sidecar = place.start();
    let with = |path, key| asked(&sidecar, path, &[("X-API-Key", key)]);
    let questions = [
        with("/orders/7", &good),
        with("/orders/7", &here),
        with("/orders/7", &elsewhere),
        with("/orders/7", "key_wrong"),
        with("/admin", &good),
        asked(&sidecar, "/orders/7", &[]),
        asked(&sidecar, "/orders/7", &[("X-API-Key", &good), ("X-Api-Key-Owner", "user-2")]),
        asked(&sidecar, "/orders/7", &[("X-API-Key", &good), ("X_Api_Key_Owner", "user-2")]),
    ];
    let Some(answers) =
        run::<Vec<Value>>(include_str!("../../../tests/grpc/ext_authz.py"), &questions).await
    else {
        return;
    };
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].as_u64()).collect();
    let expected = [200, 200, 403, 401, 403, 401, 200, 403];
    assert_eq!(statuses, expected.map(Some), "{answers:#?}");
    for answer in [&answers[0], &answers[6]] {
        assert_eq!(header(answer, "x-api-key-owner"), Some("user-1"), "{answer}");
        assert_eq!(answer["removed"], json!(["x-api-key", "authorization"]), "{answer}");
    }
    // Nothing else is at this port for a proxy.
    let to = ([127, 0, 0, 1], sidecar.address().port()).into();
    let key = format!("X-API-Key: {good}");
    assert_eq!(ask(to, "GET /auth HTTP/1.1", &[&key]).status, 404);
}

#[tokio::test]
async fn a_proxy_in_front_of_envoy_tells_the_clients_address() {
    let header =
        "client_address_header = \"X-Forwarded-For\"\ntrusted_proxies = [\"192.0.2.0/24\"]";
    let place = place(&format!("{FIRST}\n{header}"));
    let key = place.key(&["--scope", "orders:read", "--allow", "198.51.100.7"]);
    let sidecar = place.start();
    let of =
        |client| asked(&sidecar, "/orders/7", &[("X-API-Key", &key), ("X-Forwarded-For", client)]);
    let questions = [of("198.51.100.7"), of("198.51.100.8"), of("198.51.100.7, 198.51.100.8")];
    let program = include_str!("../../../tests/grpc/ext_authz.py");
    let Some(answers) = run::<Vec<Value>>(program, &questions).await else { return };
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(200), Some(403), Some(403)], "{answers:#?}");
}

#[tokio::test]
async fn another_peer_gets_no_answer_but_403() {
    let place = place("proxy = \"envoy\"\npeers = [\"10.9.8.7\"]");
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    let question = [asked(&sidecar, "/orders/7", &[("X-API-Key", &key)])];
    let program = include_str!("../../../tests/grpc/ext_authz.py");
    let Some(answers) = run::<Vec<Value>>(program, &question).await else { return };
    assert_eq!(answers[0]["status"], 403, "{answers:#?}");
}
