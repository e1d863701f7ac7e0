//! What the tests share: keys, records, requests, and an inner service that remembers what it saw.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyHasher, KeyId, Rejection, Timestamp, clock::SettableClock,
    key::KeyRecord,
};

/// An opaque key, as a new layer accepts it.
pub(crate) const KEY: &str = "first-key-of-these-tests-0123456789";
/// [`KEY`] as the user name of `Basic`: `base64(KEY ":")`.
pub(crate) const KEY_IN_BASIC: &str = "Zmlyc3Qta2V5LW9mLXRoZXNlLXRlc3RzLTAxMjM0NTY3ODk6";
pub(crate) const OTHER_KEY: &str = "other-key-of-these-tests-9876543210";

/// When the tests take place: 2026-11-23T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

pub(crate) fn clock() -> SettableClock {
    SettableClock::new(NOW)
}

/// `millis` after [`NOW`], or before.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW.as_unix_millis() + millis)
}

/// An active key, stored as plain SHA-256.
pub(crate) fn record(key: &str) -> KeyRecord {
    record_hashed(&KeyHasher::sha256(), key)
}

pub(crate) fn record_hashed(hasher: &KeyHasher, key: &str) -> KeyRecord {
    let id = KeyId::generate(NOW).unwrap();
    KeyRecord::new(id, hasher.digest(key), "key of the tests", NOW)
}

/// An active key, changed.
pub(crate) fn record_with(key: &str, change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    let mut record = record(key);
    change(&mut record);
    record
}

/// `GET /` with these headers, in this order.
pub(crate) fn request<V: AsRef<[u8]>>(headers: &[(&str, V)]) -> Request<()> {
    request_to("/", headers)
}

/// `GET` of `target` with these headers, in this order.
pub(crate) fn request_to<V: AsRef<[u8]>>(target: &str, headers: &[(&str, V)]) -> Request<()> {
    let mut request = Request::get(target).body(()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        request.headers_mut().append(name, value);
    }
    request
}

/// `GET /` with `key` in `X-API-Key`.
pub(crate) fn with_key(key: &str) -> Request<()> {
    request(&[("x-api-key", key)])
}

/// `GET` of `target` without any header.
pub(crate) fn get(target: &str) -> Request<()> {
    request_to::<&str>(target, &[])
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Bytes>,
    /// The request as the inner service saw it, if it did.
    pub(crate) seen: Option<Parts>,
}

/// Sends a request through `layer` to an inner service that answers `200` and remembers what it
/// saw. Nothing on the way may wait: there is no runtime.
pub(crate) fn send(layer: &ApiKeyLayer, request: Request<()>) -> Answer {
    send_waiting(layer, request).now_or_never().expect("the layer does not wait")
}

/// [`send`] with a store that has to be waited for.
pub(crate) async fn send_waiting(layer: &ApiKeyLayer, request: Request<()>) -> Answer {
    let seen = Arc::new(Mutex::new(None));
    let inner = service_fn(|request: Request<()>| {
        let before = seen.lock().unwrap().replace(request.into_parts().0);
        assert!(before.is_none(), "one request reaches the inner service once");
        async { Ok::<_, Infallible>(Response::new(Full::from("inner"))) }
    });
    let service = ServiceBuilder::new().layer(layer.clone()).service(inner);
    let response = respond(service, request).await;
    let seen = seen.lock().unwrap().take();
    Answer { response, seen }
}

/// One request to `service`, with the response's body read.
pub(crate) async fn respond<S, R, B>(service: S, request: R) -> Response<Bytes>
where
    S: Service<R, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Debug,
{
    let (parts, body) = service.oneshot(request).await.expect("a response").into_parts();
    Response::from_parts(parts, body.collect().await.expect("a body").to_bytes())
}

/// [`respond`] where nothing may wait.
pub(crate) fn respond_now<S, R, B>(service: S, request: R) -> Response<Bytes>
where
    S: Service<R, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Debug,
{
    respond(service, request).now_or_never().expect("the layer does not wait")
}

impl Answer {
    /// `admitted`, `anonymous`, or the code in the problem body.
    pub(crate) fn outcome(&self) -> String {
        match &self.seen {
            Some(seen) if seen.extensions.get::<AuthenticatedKey>().is_some() => "admitted".into(),
            Some(_) => "anonymous".into(),
            None => code(&self.response),
        }
    }

    /// The request that the inner service saw.
    pub(crate) fn seen(&self) -> &Parts {
        self.seen.as_ref().unwrap_or_else(|| panic!("denied: {:?}", self.response))
    }

    /// The identity that the inner service saw.
    pub(crate) fn key(&self) -> &AuthenticatedKey {
        self.seen().extensions.get().expect("an identity")
    }

    pub(crate) fn rejection(&self) -> &Rejection {
        self.response.extensions().get().expect("a rejection in the extensions")
    }

    /// The last of the errors that led to the denial.
    pub(crate) fn cause(&self) -> String {
        let mut link = self.rejection().source().expect("an error");
        while let Some(next) = link.source() {
            link = next;
        }
        link.to_string()
    }
}

/// The `code` of a denial, which must be a problem.
pub(crate) fn code(response: &Response<Bytes>) -> String {
    assert_eq!(header_values(response, header::CONTENT_TYPE), ["application/problem+json"]);
    problem(response)["code"].as_str().expect("a code").to_owned()
}

/// The body of a denial.
pub(crate) fn problem(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).expect("JSON")
}

/// All values of a header, as text.
pub(crate) fn header_values(response: &Response<Bytes>, name: HeaderName) -> Vec<&str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
}
