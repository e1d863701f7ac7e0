//! Questions of proxies about a request with the headers that all requests here have.

use std::fmt::Write;

use bytes::Bytes;
use prost::Message;

use super::envoy::envoy::{
    config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address::Address as Kind},
    service::auth::v3::{
        AttributeContext, CheckRequest,
        attribute_context::{HttpRequest, Peer, Request},
    },
};
use crate::requests::HEADERS;

const HOST: &str = "api.example.com";
const TARGET: &str = "/v1/orders?page=2&sort=created";

/// The question of Caddy or Traefik, over HTTP/1.1.
pub fn over_http(key: &str) -> Vec<u8> {
    let mut text = String::from("GET /auth HTTP/1.1\r\n");
    let told = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", HOST),
        ("x-forwarded-uri", TARGET),
        ("x-api-key", key),
    ];
    for (name, value) in HEADERS.into_iter().chain(told) {
        write!(text, "{name}: {value}\r\n").expect("room");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Envoy's question, with its headers joined in a map, or raw.
pub fn of_envoy(key: &str, is_raw: bool) -> Bytes {
    let line = [(":authority", HOST), (":method", "GET"), (":path", TARGET), (":scheme", "https")];
    // `Host` is `:authority` by then.
    let sent = HEADERS.into_iter().filter(|(name, _)| *name != "host");
    let headers = line.into_iter().chain(sent).chain([("x-api-key", key)]);
    let mut http = HttpRequest {
        id: "8423717365216397463".to_owned(),
        method: "GET".to_owned(),
        path: TARGET.to_owned(),
        host: HOST.to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        ..HttpRequest::default()
    };
    if is_raw {
        let raw = |(name, value): (&str, &str)| HeaderValue {
            key: name.to_owned(),
            value: String::new(),
            raw_value: value.as_bytes().to_owned(),
        };
        http.header_map = Some(HeaderMap { headers: headers.map(raw).collect() });
    } else {
        http.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }
    let peer = |address: &str| {
        let socket = SocketAddress { address: address.to_owned(), ..SocketAddress::default() };
        let address = Some(Address { address: Some(Kind::SocketAddress(socket)) });
        Some(Peer { address, ..Peer::default() })
    };
    let attributes = AttributeContext {
        source: peer("203.0.113.7"),
        destination: peer("198.51.100.1"),
        request: Some(Request { http: Some(http) }),
        ..AttributeContext::default()
    };
    CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
}
