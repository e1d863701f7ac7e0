//! Keys among the sub-protocols that the client of a WebSocket offers.

use std::convert::Infallible;

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::SEC_WEBSOCKET_PROTOCOL};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, KeySource, Precedence};

use super::from;
use crate::support::{KEY, request, send};

fn layer() -> ApiKeyLayer {
    from(KeySource::websocket_protocol("api-key").unwrap())
}

/// The handshake of RFC 6455 with these lines of protocols.
fn handshake(lines: &[&str]) -> Request<()> {
    let mut request = request(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
    for line in lines {
        let line = HeaderValue::from_str(line).unwrap();
        request.headers_mut().append(SEC_WEBSOCKET_PROTOCOL, line);
    }
    request
}

/// That of RFC 8441.
fn extended_connect(line: &str) -> Request<()> {
    let mut request = request(&[("sec-websocket-protocol", line)]);
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "https://api.example/feed".parse().unwrap();
    request
}

fn offered() -> String {
    format!("api-key, {KEY}")
}

#[test]
fn the_key_follows_the_name() {
    let with = |list: &str| list.replace("KEY", KEY);
    for (lines, expected) in [
        (vec!["api-key, KEY"], "admitted"),
        (vec!["api-key,KEY"], "admitted"),
        (vec!["api-key ,,\t KEY "], "admitted"),
        (vec!["chat, api-key, KEY"], "admitted"),
        (vec!["api-key, KEY, chat"], "admitted"),
        (vec!["api-key", "KEY"], "admitted"),
        (vec!["chat", "api-key, KEY", "other"], "admitted"),
        (vec![], "missing_key"),
        (vec!["KEY"], "missing_key"),
        (vec!["chat, KEY"], "missing_key"),
        (vec!["API-KEY, KEY"], "missing_key"),
        (vec!["KEY, api-key"], "malformed_key"),
        (vec!["api-key"], "malformed_key"),
        (vec!["api-key, chat, KEY"], "malformed_key"),
        (vec!["api-key, KEY, api-key, KEY"], "ambiguous_key"),
        (vec!["api-key, KEY", "api-key"], "ambiguous_key"),
    ] {
        let lines: Vec<_> = lines.into_iter().map(with).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(send(&layer(), handshake(&lines)).outcome(), expected, "{lines:?}");
    }
}

#[test]
fn it_is_read_of_websockets_alone() {
    let offered = offered();
    let without_upgrade = request(&[("sec-websocket-protocol", offered.as_str())]);
    assert_eq!(send(&layer(), without_upgrade).outcome(), "missing_key");
    let mut other = handshake(&[&offered]);
    other.headers_mut().insert("upgrade", HeaderValue::from_static("h2c"));
    assert_eq!(send(&layer(), other).outcome(), "missing_key");
    let mut several = handshake(&[&offered]);
    several.headers_mut().insert("upgrade", HeaderValue::from_static("h2c, WebSocket"));
    assert_eq!(send(&layer(), several).outcome(), "admitted");

    assert_eq!(send(&layer(), extended_connect(&offered)).outcome(), "admitted");
    let mut tunnel = extended_connect(&offered);
    *tunnel.uri_mut() = "api.example:443".parse().unwrap();
    assert_eq!(send(&layer(), tunnel).outcome(), "missing_key");
    // As every request of HTTP/2 looks.
    let mut plain = extended_connect(&offered);
    *plain.method_mut() = Method::GET;
    assert_eq!(send(&layer(), plain).outcome(), "missing_key");
}

/// Whatever a service chooses of the list, it does not repeat the key.
#[test]
fn the_key_leaves_the_list_and_the_name_stays() {
    let with = |list: &str| list.replace("KEY", KEY);
    for (lines, left) in [
        (vec!["api-key, KEY"], vec!["api-key"]),
        (vec!["chat,api-key,KEY,other"], vec!["chat, api-key, other"]),
        (vec!["chat", "api-key", "KEY", "other"], vec!["chat", "api-key", "other"]),
        (vec!["chat, api-key", "KEY, other"], vec!["chat, api-key", "other"]),
    ] {
        let lines: Vec<_> = lines.into_iter().map(with).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        for layer in [layer(), layer().hide_credentials()] {
            let answer = send(&layer, handshake(&lines));
            let seen = &answer.seen().headers;
            let seen: Vec<_> = seen.get_all(SEC_WEBSOCKET_PROTOCOL).iter().collect();
            assert_eq!(seen, left, "{lines:?}");
            assert!(!format!("{:?}", answer.seen()).contains(KEY));
        }
    }
    let answer = send(&layer(), extended_connect(&offered()));
    assert_eq!(answer.seen().headers[SEC_WEBSOCKET_PROTOCOL], "api-key");
}

/// Also where the request was let in for another reason, or by another key.
#[test]
fn no_service_sees_a_key_among_the_protocols() {
    let offered = offered();
    let first = layer()
        .with_sources([KeySource::x_api_key(), KeySource::websocket_protocol("api-key").unwrap()]);
    let first = first.with_precedence(Precedence::FirstSource);
    let mut by_header = handshake(&[&offered]);
    by_header.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
    for (layer, request) in
        [(layer().with_bypass(|_| true), handshake(&[&offered])), (first, by_header)]
    {
        for layer in [layer.clone(), layer.hide_credentials()] {
            let answer = send(&layer, request.clone());
            assert_eq!(answer.seen().headers[SEC_WEBSOCKET_PROTOCOL], "api-key");
        }
    }
}

/// The protocol in the response of a service that answers with this status, and has chosen this one.
fn chosen(
    request: Request<()>,
    status: StatusCode,
    choice: Option<&'static str>,
) -> Option<String> {
    let service = layer().layer(service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        if let Some(choice) = choice {
            let choice = HeaderValue::from_static(choice);
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, choice);
        }
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request).now_or_never().unwrap().unwrap();
    let mut values = response.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let value = values.next().map(|value| value.to_str().unwrap().to_owned());
    assert!(values.next().is_none());
    value
}

#[test]
fn the_name_is_chosen_where_the_service_chose_nothing() {
    let offered = offered();
    let (upgrade, connect) = (|| handshake(&[&offered]), || extended_connect(&offered));
    let (accepted, ok) = (StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK);
    assert_eq!(chosen(upgrade(), accepted, None).as_deref(), Some("api-key"));
    assert_eq!(chosen(upgrade(), accepted, Some("chat")).as_deref(), Some("chat"));
    assert_eq!(chosen(connect(), ok, None).as_deref(), Some("api-key"));
    assert_eq!(chosen(connect(), ok, Some("chat")).as_deref(), Some("chat"));
    // No WebSocket was accepted.
    assert_eq!(chosen(upgrade(), ok, None), None);
    assert_eq!(chosen(upgrade(), StatusCode::BAD_REQUEST, None), None);
    assert_eq!(chosen(connect(), StatusCode::NOT_FOUND, None), None);
}

#[test]
fn a_key_in_another_place_chooses_nothing() {
    let layer = layer().with_source(KeySource::x_api_key());
    let mut request = handshake(&["chat"]);
    request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
    let service = layer.layer(service_fn(async |_: Request<()>| {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request).now_or_never().unwrap().unwrap();
    assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
}
