//! Envoy's messages as its protocol has them, and the questions that it asks.

#![allow(dead_code, reason = "each test uses a part of it")]

use self::envoy::{
    config::core::v3::{Address, HeaderValue, HeaderValueOption, SocketAddress, address},
    service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse,
        attribute_context::{HttpRequest, Peer, Request},
        check_response::HttpResponse,
    },
};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod generated {
    include!("generated/mod.rs");
}

pub(crate) use generated::envoy;

/// The two forms in which Envoy tells of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The values of one name joined by commas.
    Joined,
    /// Each value by itself, with `encode_raw_headers`.
    Raw,
}

pub(crate) const FORMS: [Form; 2] = [Form::Joined, Form::Raw];

/// Where the client is.
pub(crate) const CLIENT: &str = "192.0.2.1";

/// The question about a request to `https://api.example`, laid out as Envoy's source writes it.
pub(crate) fn question(
    form: Form,
    method: &str,
    target: &str,
    sent: &[(&str, &str)],
) -> CheckRequest {
    let line = [
        (":authority", "api.example"),
        (":method", method),
        (":path", target),
        (":scheme", "https"),
    ];
    let mut http = HttpRequest {
        id: "7".into(),
        method: method.into(),
        path: target.into(),
        host: "api.example".into(),
        scheme: "https".into(),
        size: -1,
        protocol: "HTTP/2".into(),
        ..HttpRequest::default()
    };
    for (name, value) in line.into_iter().chain(sent.iter().copied()) {
        add(&mut http, form, &name.to_lowercase(), value);
    }
    let peer = |address: &str| Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: address.into(),
                ..SocketAddress::default()
            })),
        }),
        ..Peer::default()
    };
    let attributes = AttributeContext {
        source: Some(peer(CLIENT)),
        destination: Some(peer("198.51.100.1")),
        request: Some(Request { http: Some(http) }),
        context_extensions: [("route".to_owned(), "orders".to_owned())].into(),
        tls_session: None,
    };
    CheckRequest { attributes: Some(attributes) }
}

fn add(http: &mut HttpRequest, form: Form, name: &str, value: &str) {
    match form {
        Form::Joined => {
            let joined = http.headers.entry(name.into());
            joined
                .and_modify(|joined| *joined = format!("{joined},{value}"))
                .or_insert_with(|| value.into());
        }
        Form::Raw => http.header_map.get_or_insert_default().headers.push(HeaderValue {
            key: name.into(),
            value: String::new(),
            raw_value: value.into(),
        }),
    }
}

/// The part of a question that tells of the request.
pub(crate) fn http(question: &mut CheckRequest) -> &mut HttpRequest {
    let attributes = question.attributes.as_mut().unwrap();
    attributes.request.as_mut().unwrap().http.as_mut().unwrap()
}

/// An answer, as Envoy understands it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// That of the response to the client; 200 for a request that goes on.
    pub(crate) status: i32,
    /// Those of the response to the client, or those that are set on the request that goes on.
    pub(crate) headers: Vec<(String, String)>,
    /// Those that are taken out of the request that goes on.
    pub(crate) removed: Vec<String>,
    pub(crate) body: String,
}

impl Answer {
    /// Reads it, and makes sure that all releases of Envoy read the same in it.
    pub(crate) fn of(response: CheckResponse) -> Self {
        let code = response.status.unwrap().code;
        match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0);
                assert!(ok.response_headers_to_add.is_empty());
                assert!(ok.query_parameters_to_remove.is_empty());
                let headers = headers(ok.headers);
                let mut names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
                names.dedup();
                assert_eq!(names.len(), headers.len(), "{headers:?}");
                Self { status: 200, headers, removed: ok.headers_to_remove, body: String::new() }
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_ne!(code, 0);
                let status = denied.status.unwrap().code;
                let headers = headers(denied.headers);
                Self { status, headers, removed: Vec::new(), body: denied.body }
            }
        }
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(other, _)| other == name);
        values.map(|(_, value)| &**value).collect()
    }

    /// The code of the problem; empty for a request that goes on.
    pub(crate) fn code(&self) -> String {
        if self.status == 200 {
            return String::new();
        }
        assert_eq!(self.values("content-type"), ["application/problem+json"]);
        assert_eq!(self.values("cache-control"), ["no-store"]);
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// The first of a name stands in place of all others, and further ones beside it.
fn headers(options: Vec<HeaderValueOption>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for option in options {
        let header = option.header.unwrap();
        let is_first = headers.iter().all(|(name, _)| *name != header.key);
        assert_eq!(option.append, is_first.then_some(false), "{}", header.key);
        assert_eq!((option.append_action, option.keep_empty_value), (0, true));
        assert!(header.raw_value.is_empty());
        headers.push((header.key, header.value));
    }
    headers
}
