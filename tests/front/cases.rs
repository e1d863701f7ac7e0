//! Each outcome, as the client behind each proxy and the application see it.

use crate::{
    application::{self, KEY, LIMITED_KEY, SILENT_KEY, Services},
    process::Reply,
    proxies::{self, Kind, Proxy},
};

/// Runs `check` with this proxy in front of both services, unless it is left out.
pub(crate) async fn behind(kind: Kind, check: impl FnOnce(&Proxy, &Services) + Send + 'static) {
    if kind.is_left_out() {
        return;
    }
    let services = application::start(application::flavour(kind)).await;
    let checked = tokio::task::spawn_blocking(move || {
        let proxy = proxies::start(kind, &services);
        check(&proxy, &services);
    });
    checked.await.unwrap();
}

pub(crate) fn header(name: &str, value: &str) -> String {
    format!("{name}: {value}")
}

/// What the application was sent under this name, of which there is one header.
pub(crate) fn told(reply: &Reply, name: &str) -> Option<String> {
    let mut values = reply.body.lines().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
    let value = values.next().map(str::to_owned);
    assert_eq!(values.next(), None, "{name} twice: {reply:?}");
    value.filter(|value| !value.is_empty())
}

fn all_outcomes(proxy: &Proxy, services: &Services) {
    let good = header("X-API-Key", KEY);
    for line in ["GET /orders/7?page=2 HTTP/1.1", "PATCH /profile HTTP/1.1"] {
        let reply = proxy.ask(line, &[&good]);
        assert_eq!(reply.status, 200, "{reply:?}");
        let (request, _) = line.rsplit_once(' ').unwrap();
        assert!(reply.body.starts_with(&format!("reached {request}\n")), "{reply:?}");
        assert_eq!(told(&reply, "x-api-key-id").as_ref(), Some(&services.id));
        assert_eq!(told(&reply, "x-api-key-owner").unwrap(), "Zo%C3%AB");
        assert_eq!(told(&reply, "x-api-key-scopes").unwrap(), "orders:read");
        assert!(!reply.body.contains(KEY), "the key goes no further: {reply:?}");
    }
    // `HEAD` is `GET`, without a body.
    assert_eq!(proxy.ask("HEAD /orders/7 HTTP/1.1", &[&good]).status, 200);

    let limited = header("X-API-Key", LIMITED_KEY);
    assert_eq!(proxy.ask("GET /orders/7 HTTP/1.1", &[&limited]).status, 200);
    let silent = header("X-API-Key", SILENT_KEY);
    let second = header("Authorization", "Bearer another-key-0123456789");
    for (line, headers, status, code) in [
        ("GET /orders/7", &[][..], 401, "missing_key"),
        ("GET /orders/7", &["X-API-Key: a-wrong-key-0123456789"], 401, "unknown_key"),
        ("GET /orders/7", &[&*good, &*second], 400, "ambiguous_key"),
        ("POST /orders", &[&*good, "Content-Length: 0"], 403, "insufficient_scope"),
        ("GET /admin", &[&*good], 403, "forward_auth_refused"),
        ("DELETE /orders/7", &[&*good], 403, "forward_auth_refused"),
        ("GET /orders/7", &[&*limited], 429, "rate_limited"),
        ("GET /orders/7", &[&*silent], 503, "store_unavailable"),
    ] {
        let reply = proxy.ask(&format!("{line} HTTP/1.1"), headers);
        assert_eq!(reply.status, status, "{code}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
        let problem = reply.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        let has_challenge = matches!(status, 400 | 401) || code == "insufficient_scope";
        assert_eq!(reply.header("www-authenticate").is_some(), has_challenge, "{reply:?}");
        assert_eq!(reply.header("retry-after").is_some(), status >= 429, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_nginx_see_each_outcome() {
    behind(Kind::Nginx, all_outcomes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_caddy_see_each_outcome() {
    behind(Kind::Caddy, all_outcomes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_haproxy_see_each_outcome() {
    behind(Kind::HaProxy, all_outcomes).await;
}
