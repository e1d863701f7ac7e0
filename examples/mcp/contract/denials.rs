//! 401, 403 and 429 over HTTP, with the challenges that MCP clients read.

use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use mcp_guard::Guard;
use serde_json::{Value, json};

use super::client::{Client, PROTOCOLS, Protocol, Service, URL, answer, bytes, stranger};
use crate::server;

const METADATA: &str = "http://127.0.0.1:3000/.well-known/oauth-protected-resource/mcp";

fn challenges(response: &Response<Body>) -> Vec<&str> {
    let values = response.headers().get_all(header::WWW_AUTHENTICATE);
    values.iter().map(|value| value.to_str().unwrap()).collect()
}

async fn problem(response: Response<Body>) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    serde_json::from_slice(&bytes(response).await).unwrap()
}

#[tokio::test]
async fn without_a_good_key_every_request_is_401_and_names_the_metadata() {
    let service = Service::new();
    let unknown = format!("{}x", service.key(&[]).await);
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let mut request =
            stranger(&service, "none").head(method.clone()).body(Body::empty()).unwrap();
        request.headers_mut().remove(header::AUTHORIZATION);
        let response = service.send(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method}");
        let plain = format!(r#"Bearer realm="api", resource_metadata="{METADATA}""#);
        assert_eq!(challenges(&response), [plain.as_str()]);

        for key in ["none", &unknown] {
            let response = stranger(&service, key).bare(method.clone()).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method}");
            assert_eq!(challenges(&response), [format!(r#"{plain}, error="invalid_token""#)]);
        }
    }
}

#[tokio::test]
async fn the_metadata_is_open_and_says_what_it_is_about() {
    let service = Service::new();
    for path in [METADATA.strip_prefix(URL).unwrap(), "/.well-known/oauth-protected-resource"] {
        let response = service.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let document: Value = serde_json::from_slice(&bytes(response).await).unwrap();
        assert_eq!(document["resource"], format!("{URL}/mcp"));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        assert_eq!(document["scopes_supported"], json!(["stock:read", "stock:write"]));
    }
}

/// Its document would be looked for in front of the path, and the addresses that it names would be others.
#[test]
fn the_url_of_the_service_has_no_path() {
    let guard = |url: &str| Guard::new(url, server::tool_scopes().unwrap());
    for url in [URL, "https://api.example.com", "https://api.example.com:8443/"] {
        assert_eq!(guard(url).unwrap().url(), url.trim_end_matches('/'));
    }
    for url in [
        "",
        "/",
        "api.example.com",
        "https://api.example.com/stock",
        "https://api.example.com//",
        "https://api.example.com/?a=b",
        "https://api.example.com?a=b",
        "https://api.example.com/#a",
        "https://api.example.com#a",
    ] {
        assert!(guard(url).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_tool_beyond_the_key_is_403_and_names_the_scope() {
    for protocol in PROTOCOLS {
        let service = Service::new();
        let reader = service.client(protocol, &["stock:read"]).await;
        let response = reader.call("adjust_stock", json!({ "product": "apples", "by": 5 })).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{protocol:?}");
        let challenge = format!(
            r#"Bearer realm="api", resource_metadata="{METADATA}", error="insufficient_scope", scope="stock:write""#
        );
        assert_eq!(challenges(&response), [challenge]);
        let problem = problem(response).await;
        assert_eq!(problem["code"], "insufficient_scope");
        assert_eq!(problem["missing_scopes"], json!(["stock:write"]));
        assert_eq!(reader.called("stock_level", json!({ "product": "apples" })).await, "0");
    }
}

/// A body that the guard and the server may read differently, or not at all.
fn disguises(client: &Client) -> Vec<String> {
    let arguments = json!({ "product": "apples", "by": 5 });
    let params = json!({ "name": "adjust_stock", "arguments": arguments });
    let (message, _) = client.message("tools/call", params);
    let text = message.to_string();
    let (harmless, _) = client.message("tools/list", json!({}));
    vec![
        format!("\u{feff}{text}"),
        format!(" \r\n{text}\n"),
        format!("[{text}]"),
        format!("[{harmless},{text}]"),
        format!("{text}{text}"),
        text.replacen("\"method\"", "\"method\":\"tools/list\",\"method\"", 1),
        text.replacen("{\"_meta\"", "{\"name\":\"stock_level\",\"_meta\"", 1),
        text.replacen("\"name\":\"adjust", "\"name\":\"stock_level\",\"name\":\"adjust", 1),
        text.replacen("adjust_stock", "adjust\\u005fstock", 1),
        text.replacen("tools/call", "tools\\/call", 1),
        text.replacen("\"name\"", "\"n\\u0061me\"", 1),
        text.replacen("adjust_stock", "ADJUST_STOCK", 1),
        text.replacen("adjust_stock", "adjust_stock ", 1),
        text.replacen("\"params\":{", "\"params\":[{", 1).replacen("}}}", "}}]}", 1),
    ]
}

/// A limit counts requests, so one is one call, also where the protocol knows batches.
#[tokio::test]
async fn no_body_calls_more_than_one_tool() {
    for protocol in PROTOCOLS {
        let service = Service::new();
        let clerk = service.client(protocol, &["stock:read", "stock:write"]).await;
        let arguments = json!({ "product": "apples", "by": 5 });
        let params = json!({ "name": "adjust_stock", "arguments": arguments });
        let (call, headers) = clerk.message("tools/call", params);
        let mut twice = call.clone();
        twice["id"] = 2.into();
        let unreadable = call.to_string().replacen("\"id\"", "\"method\":\"tools/call\",\"id\"", 1);
        for batch in [
            format!("[{call}]"),
            format!("[{call},{twice}]"),
            format!("\t\r\n [{call},{twice}]"),
            format!("[{call},{unreadable}]"),
            format!("[[{call}],{twice}]"),
            format!("\u{feff}[{call}]"),
            format!("[{}]", vec![call.to_string(); 1_000].join(",")),
            "[]".to_owned(),
            "[".to_owned(),
            String::new(),
        ] {
            let response = clerk.post(&batch, &headers).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{protocol:?}: {batch:.99}");
        }
        assert_eq!(clerk.called("stock_level", json!({ "product": "apples" })).await, "0");
        let alone = clerk.post(&format!("\n {call}\n"), &headers).await;
        assert_eq!(answer(alone).await["result"]["content"][0]["text"], "5", "{protocol:?}");
    }
}

/// In whatever form: the layer looks into the body, and the server decides for itself, with that layer and
/// without it.
#[tokio::test]
async fn no_body_calls_a_tool_beyond_the_key() {
    let services: [fn() -> Service; 2] = [Service::new, Service::without_layer_for_scopes];
    for (protocol, service) in
        PROTOCOLS.into_iter().flat_map(|protocol| services.map(|service| (protocol, service())))
    {
        let reader = service.client(protocol, &["stock:read"]).await;
        let bodies = disguises(&reader);
        for body in &bodies {
            for name in ["adjust_stock", "stock_level"] {
                let params = json!({ "name": name });
                let (_, headers) = reader.message("tools/call", params);
                drop(bytes(reader.post(body, &headers).await).await);
            }
        }
        assert_eq!(reader.called("stock_level", json!({ "product": "apples" })).await, "0");

        // Some of them are calls, for a key that may.
        let clerk = service.client(protocol, &["stock:read", "stock:write"]).await;
        let (_, headers) = clerk.message("tools/call", json!({ "name": "adjust_stock" }));
        for body in disguises(&clerk) {
            drop(bytes(clerk.post(&body, &headers).await).await);
        }
        assert_ne!(reader.called("stock_level", json!({ "product": "apples" })).await, "0");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413() {
    let service = Service::new();
    let reader = service.client(Protocol::Stateless, &["stock:read"]).await;
    for (more, status) in [(0, StatusCode::OK), (1, StatusCode::PAYLOAD_TOO_LARGE)] {
        let (message, headers) = reader.message("tools/list", json!({}));
        let length = service.guard().max_body() + more;
        let mut body = message.to_string();
        body.extend(std::iter::repeat_n(' ', length - body.len()));
        assert_eq!(reader.post(&body, &headers).await.status(), status, "{more}");
    }
}

#[tokio::test]
async fn beyond_its_limit_a_key_is_429_and_told_when_to_come_back() {
    let service = Service::new();
    let new = json!({
        "name": "busy",
        "scopes": ["stock:read"],
        "limits": [{ "name": "hour", "requests": 2, "window_seconds": 3600 }],
    });
    let created = service.manage(Method::POST, "", &new).await;
    let key = created["key"].as_str().unwrap().to_owned();
    let busy = Client::new(service, Protocol::Stateless, key).await;
    for _ in 0..2 {
        answer(busy.call("stock_level", json!({ "product": "pears" })).await).await;
    }
    let response = busy.call("stock_level", json!({ "product": "pears" })).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let after: u64 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=3600).contains(&after), "{after}");
    assert_eq!(problem(response).await["code"], "rate_limited");
}

#[tokio::test]
async fn keys_of_clients_manage_none() {
    let service = Service::new();
    let clerk = service.key(&["stock:read", "stock:write", "*"]).await;
    for name in ["x-admin-key", "authorization"] {
        let request = Request::get("/admin/api-keys").header(name, format!("Bearer {clerk}"));
        let response = service.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
}

/// A name that an attacker's page has made to lead here (DNS rebinding).
#[tokio::test]
async fn pages_of_other_sites_and_other_hosts_are_refused() {
    for protocol in PROTOCOLS {
        let client = Service::new().client(protocol, &["stock:read"]).await;
        let (body, headers) = client.message("tools/list", json!({}));
        for (name, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
            let request = client.head(Method::POST).body(Body::from(body.to_string()));
            let mut request = request.unwrap();
            request.headers_mut().extend(headers.clone());
            request.headers_mut().insert(name, value.parse().unwrap());
            let response = client.service.send(request).await;
            let refused = [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN];
            assert!(refused.contains(&response.status()), "{name} {protocol:?}: {response:?}");
        }
    }
}
