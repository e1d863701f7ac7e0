//! Checks as a careful programmer writes them into an application: the least that one can cost, and
//! the whole work of the layer's defaults.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasherDefault, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use sha2::{Digest, Sha256, block_api::compress256};
use subtle::ConstantTimeEq;
use tower_service::Service;

use crate::{inner::NoOp, requests::X_API_KEY};

/// A key as an application would keep it.
#[derive(Clone, Debug)]
pub struct Record {
    /// A UUID.
    pub id: [u8; 16],
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// The purpose of the key.
    pub name: String,
    /// The owner of the key.
    pub owner: String,
    /// The scopes of the key.
    pub scopes: Vec<String>,
    /// Whether the key was revoked.
    pub is_revoked: bool,
    /// The key is refused from this moment on.
    pub expires_at: Option<SystemTime>,
}

impl Record {
    /// Whether the key may be used.
    #[inline]
    pub fn is_valid(&self) -> bool {
        !self.is_revoked && self.expires_at.is_none_or(|end| SystemTime::now() < end)
    }

    /// Whether the key has this scope.
    #[inline]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }
}

/// The keys by their digests.
pub type Records = HashMap<[u8; 32], Arc<Record>, BuildHasherDefault<FirstWord>>;

/// The first eight bytes of a digest as its hash.
#[derive(Clone, Debug, Default)]
pub struct FirstWord(u64);

impl Hasher for FirstWord {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The scope that the floors ask for, which all keys have.
pub const SCOPE: &str = "orders:read";

/// The least that a check can cost: one header, SHA-256, a map, expiry, a scope. No formats, and
/// denials without a body.
#[derive(Clone, Debug)]
pub struct Floor<const COMPARES: bool> {
    inner: NoOp,
    records: Arc<Records>,
}

impl<const COMPARES: bool> Floor<COMPARES> {
    /// In front of this service. `COMPARES`: whether the digest that was found is compared in constant
    /// time.
    pub fn new(inner: NoOp, records: Arc<Records>) -> Self {
        Self { inner, records }
    }
}

impl<const COMPARES: bool> Service<Request<()>> for Floor<COMPARES> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<()>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Answer {
        match check::<COMPARES>(&self.records, request.headers().get(X_API_KEY)) {
            Some(record) => {
                let record = record.clone();
                request.extensions_mut().insert(record);
                Answer::Inner(self.inner.call(request))
            }
            None => Answer::Empty,
        }
    }
}

/// The record of the key in this header, if the key may be used.
#[inline]
pub fn check<'r, const COMPARES: bool>(
    records: &'r Records,
    key: Option<&HeaderValue>,
) -> Option<&'r Arc<Record>> {
    let digest: [u8; 32] = Sha256::digest(key?.as_bytes()).into();
    let record = records.get(&digest)?;
    if COMPARES && !bool::from(record.digest.ct_eq(&digest)) {
        return None;
    }
    (record.is_valid() && record.has_scope(SCOPE)).then_some(record)
}

/// The whole work of the layer's defaults: two sources and no second key, prefix, characters, checksum,
/// one block of SHA-256, a compare in constant time, the header marked as sensitive, `Vary` and
/// `Cache-Control`, and a body that says why a request is denied.
#[derive(Clone, Debug)]
pub struct SameWork {
    inner: NoOp,
    records: Arc<Records>,
}

impl SameWork {
    /// In front of this service.
    pub fn new(inner: NoOp, records: Arc<Records>) -> Self {
        Self { inner, records }
    }
}

impl Service<Request<()>> for SameWork {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<()>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Answer {
        let (name, record) = match self.judge(&request) {
            Ok((name, record)) => (name, record.clone()),
            Err(denial) => return Answer::Denied(denial),
        };
        if let Some(value) = request.headers_mut().get_mut(name) {
            value.set_sensitive(true);
        }
        request.extensions_mut().insert(record);
        Answer::Marked(self.inner.call(request))
    }
}

impl SameWork {
    #[inline]
    fn judge(&self, request: &Request<()>) -> Result<(HeaderName, &Arc<Record>), Denial> {
        let (name, key) = find(request)?;
        if !is_ours(key) {
            return Err(Denial::Malformed);
        }
        let digest = sha256_of_one_block(key);
        let record = self.records.get(&digest).ok_or(Denial::Unknown)?;
        if !bool::from(record.digest.ct_eq(&digest)) || !record.is_valid() {
            return Err(Denial::Unknown);
        }
        Ok((name, record))
    }
}

/// The one key of the request, and the header that it is in.
#[inline]
fn find(request: &Request<()>) -> Result<(HeaderName, &[u8]), Denial> {
    let mut own = request.headers().get_all(X_API_KEY).into_iter();
    let mut tokens = request.headers().get_all(header::AUTHORIZATION).into_iter();
    match (own.next(), own.next(), tokens.next(), tokens.next()) {
        (Some(key), None, None, None) => Ok((X_API_KEY, key.as_bytes())),
        (None, None, Some(value), None) => {
            let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or(Denial::Missing)?;
            let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
            if is_bearer { Ok((header::AUTHORIZATION, token)) } else { Err(Denial::Missing) }
        }
        (None, _, None, _) => Err(Denial::Missing),
        _ => Err(Denial::Ambiguous),
    }
}

/// Whether the key has our prefix, length, characters and checksum.
#[inline]
fn is_ours(key: &[u8]) -> bool {
    let Some(secret) = key.strip_prefix(b"key_") else { return false };
    let Some((_, digits)) = key.split_last_chunk::<6>() else { return false };
    if secret.len() != 43 + 6 || !secret.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let number = digits.iter().fold(0_u64, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            _ => digit - b'a' + 36,
        };
        number * 62 + u64::from(value)
    });
    number == u64::from(crc32fast::hash(&key[..key.len() - 6]))
}

/// SHA-256 of a text of at most 55 bytes (FIPS 180-4 §5.1.1 and §6.2).
#[inline]
fn sha256_of_one_block(text: &[u8]) -> [u8; 32] {
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19_u32,
    ];
    let mut block = [0; 64];
    block[..text.len()].copy_from_slice(text);
    block[text.len()] = 0x80;
    block[56..].copy_from_slice(&(text.len() as u64 * 8).to_be_bytes());
    compress256(&mut state, &[block]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug)]
pub enum Denial {
    /// Without a key.
    Missing,
    /// With several keys.
    Ambiguous,
    /// With a key that is not of our shape.
    Malformed,
    /// With a key that there is not.
    Unknown,
}

impl Denial {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, body) = match self {
            Self::Missing => (
                StatusCode::UNAUTHORIZED,
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Send an API key.","code":"missing_key"}"#,
            ),
            Self::Ambiguous => (
                StatusCode::BAD_REQUEST,
                r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"Send one API key.","code":"ambiguous_key"}"#,
            ),
            Self::Malformed => (
                StatusCode::UNAUTHORIZED,
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The key is malformed.","code":"malformed_key"}"#,
            ),
            Self::Unknown => (
                StatusCode::UNAUTHORIZED,
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The key is unknown.","code":"unknown_key"}"#,
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            for challenge in
                [r#"ApiKey realm="api", in="header", name="x-api-key""#, r#"Bearer realm="api""#]
            {
                let challenge = HeaderValue::from_static(challenge);
                headers.append(header::WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}

type InnerFuture = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;

/// The answer of a check by hand.
#[derive(Debug)]
pub enum Answer {
    /// The inner service's.
    Inner(InnerFuture),
    /// The inner service's, with what shared caches must know.
    Marked(InnerFuture),
    /// 401 without a body.
    Empty,
    /// A denial with its reason.
    Denied(Denial),
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Inner(future) => Pin::new(future).poll(cx),
            Self::Marked(future) => Pin::new(future).poll(cx).map_ok(|mut response| {
                let headers = response.headers_mut();
                let vary = HeaderValue::from_static("x-api-key, authorization");
                headers.append(header::VARY, vary);
                if !headers.contains_key(header::CACHE_CONTROL) {
                    let private = HeaderValue::from_static("private");
                    headers.insert(header::CACHE_CONTROL, private);
                }
                response
            }),
            Self::Empty => Poll::Ready(Ok(empty_denial())),
            Self::Denied(denial) => Poll::Ready(Ok(denial.response())),
        }
    }
}

/// 401 without a body.
pub fn empty_denial<B: Default>() -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
