//! The request: 13 headers, one of them the key's, and one extension, as servers attach them.

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Request, header};
use tower_api_key::Timestamp;

/// The header of the key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Where a stack looks for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// In `X-API-Key`.
    Own,
    /// In `Authorization`, as a bearer token.
    Bearer,
}

impl Carrier {
    /// The name of the header.
    pub fn header(self) -> HeaderName {
        match self {
            Self::Own => X_API_KEY,
            Self::Bearer => header::AUTHORIZATION,
        }
    }

    /// The value of the header with this key, for requests that take turns with it.
    pub fn value(self, key: &str) -> HeaderValue {
        let value = HeaderValue::try_from(self.text(key)).expect("keys are visible ASCII");
        // As a part of what was read: further clones allocate nothing.
        drop(value.clone());
        value
    }

    fn text(self, key: &str) -> String {
        match self {
            Self::Own => key.to_owned(),
            Self::Bearer => format!("Bearer {key}"),
        }
    }
}

/// The headers of every request, before that of the key.
pub const HEADERS: [(&str, &str); 12] = [
    ("host", "api.example.com"),
    ("user-agent", "example-client/1.4.2 (linux; x86_64)"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("accept-language", "en-GB,en;q=0.8"),
    ("content-type", "application/json"),
    ("content-length", "0"),
    ("origin", "https://shop.example.com"),
    ("referer", "https://shop.example.com/orders"),
    ("x-request-id", "0198c0de-0000-7000-8000-000000000001"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("x-forwarded-for", "203.0.113.7"),
];

/// A request with this key, or without one. As servers have them, the values of its headers are parts of
/// what was read: none has memory of its own, which would be freed with it.
pub fn request(carrier: Carrier, key: Option<&str>) -> Request<()> {
    let key = key.map(|key| (carrier.header(), carrier.text(key)));
    let own = HEADERS.map(|(name, value)| (HeaderName::from_static(name), value.to_owned()));
    let headers: Vec<_> = own.into_iter().chain(key).collect();
    let read: String = headers.iter().map(|(_, value)| value.as_str()).collect();
    let mut read = BytesMut::from(read.as_bytes());
    let mut request = Request::get("https://api.example.com/v1/orders?page=2&sort=created")
        .body(())
        .expect("a request");
    for (name, value) in headers {
        let value = HeaderValue::from_maybe_shared(read.split_to(value.len()).freeze());
        request.headers_mut().insert(name, value.expect("visible ASCII"));
    }
    request.extensions_mut().insert(Timestamp::UNIX_EPOCH);
    request
}
