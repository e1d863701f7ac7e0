//! [`Question`]: Envoy's `CheckRequest`, in the parts of it that matter here.
//!
//! Read by hand from the bytes that were received, without copies: generated code makes a map of the headers, in
//! which a repeated one is lost without a trace. Unknown fields are passed over, as the language asks.

use std::fmt;

use bytes::Bytes;

use crate::protobuf::{Fields, Malformed, Value};

/// The account of a request. A text that is not there is empty, as everywhere in this language.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) method: Bytes,
    pub(super) scheme: Bytes,
    pub(super) host: Bytes,
    /// With the query.
    pub(super) path: Bytes,
    /// Of `headers`, in which Envoy joins the values of one name.
    pub(super) joined: Vec<(Bytes, Bytes)>,
    /// Of `header_map`, in which each value stands by itself. None where there is no such message.
    pub(super) raw: Option<Vec<RawHeader>>,
    /// The address of the socket that the request came from, if it came from one.
    pub(super) source: Option<Bytes>,
}

/// A header of `header_map`, with its value as text or as bytes.
#[derive(Default, PartialEq, Eq)]
pub(super) struct RawHeader {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) raw_value: Bytes,
}

/// A key may be anywhere in it.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

impl fmt::Debug for RawHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawHeader").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Question {
    /// Reads a `CheckRequest`.
    pub(super) fn read(message: Bytes) -> Result<Self, Malformed> {
        let mut question = Self::default();
        let [attributes] = parts(message, [1])?;
        if let Some(attributes) = attributes {
            question.attributes(attributes)?;
        }
        Ok(question)
    }

    /// Reads an `AttributeContext`.
    fn attributes(&mut self, message: Bytes) -> Result<(), Malformed> {
        let [source, request] = parts(message, [1, 4])?;
        if let Some(source) = source {
            self.source = address(source)?;
        }
        let Some(request) = request else { return Ok(()) };
        match parts(request, [2])? {
            [Some(http)] => self.http(http),
            [None] => Ok(()),
        }
    }

    /// Reads an `HttpRequest`.
    fn http(&mut self, message: Bytes) -> Result<(), Malformed> {
        let mut fields = Fields::of(message);
        let (mut method, mut path, mut host, mut scheme) = (None, None, None, None);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (2, value) => once(&mut method, value)?,
                (3, Value::Bytes(entry)) => {
                    let [key, value] = parts(entry, [1, 2])?.map(Option::unwrap_or_default);
                    self.joined.push((key, value));
                }
                (4, value) => once(&mut path, value)?,
                (5, value) => once(&mut host, value)?,
                (6, value) => once(&mut scheme, value)?,
                (13, Value::Bytes(map)) if self.raw.is_none() => {
                    self.raw = Some(raw_headers(map)?);
                }
                (3 | 13, _) => return Err(Malformed),
                _ => {}
            }
        }
        self.method = method.unwrap_or_default();
        self.path = path.unwrap_or_default();
        self.host = host.unwrap_or_default();
        self.scheme = scheme.unwrap_or_default();
        Ok(())
    }
}

/// Reads a `HeaderMap`.
fn raw_headers(message: Bytes) -> Result<Vec<RawHeader>, Malformed> {
    let mut fields = Fields::of(message);
    let mut headers = Vec::new();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(header)) => {
                let [key, value, raw_value] =
                    parts(header, [1, 2, 3])?.map(Option::unwrap_or_default);
                headers.push(RawHeader { key, value, raw_value });
            }
            (1, Value::Other) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(headers)
}

/// The address in a `Peer`: that of a socket, and of no pipe.
fn address(peer: Bytes) -> Result<Option<Bytes>, Malformed> {
    let [Some(address)] = parts(peer, [1])? else { return Ok(None) };
    let [Some(socket)] = parts(address, [1])? else { return Ok(None) };
    let [address] = parts(socket, [2])?;
    Ok(Some(address.unwrap_or_default()))
}

/// The fields of a message with these numbers, which are texts or messages.
fn parts<const COUNT: usize>(
    message: Bytes,
    numbers: [u32; COUNT],
) -> Result<[Option<Bytes>; COUNT], Malformed> {
    let mut fields = Fields::of(message);
    let mut parts = [const { None }; COUNT];
    while let Some((number, value)) = fields.next()? {
        let at = numbers.iter().position(|wanted| *wanted == number);
        if let Some(slot) = at.and_then(|at| parts.get_mut(at)) {
            once(slot, value)?;
        }
    }
    Ok(parts)
}

/// Keeps the one value of a field. Of several, the last would count, or all together: no such message comes from
/// Envoy.
fn once(slot: &mut Option<Bytes>, value: Value) -> Result<(), Malformed> {
    match value {
        Value::Bytes(bytes) if slot.is_none() => {
            *slot = Some(bytes);
            Ok(())
        }
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
    mod generated {
        include!("../../../tests/envoy/generated/mod.rs");
    }

    use generated::envoy::{
        config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address},
        service::auth::v3::{
            AttributeContext, CheckRequest,
            attribute_context::{HttpRequest, Peer, Request},
        },
    };

    #[test]
    fn a_header_is_a_message() {
        assert!(raw_headers(Bytes::from_static(&[0x0a, 0x00])).is_ok());
        assert!(raw_headers(Bytes::from_static(&[0x08, 0x01])).is_err());
    }

    /// The same, by generated code.
    fn by_prost(message: &[u8]) -> Option<Question> {
        let attributes = CheckRequest::decode(message).ok()?.attributes.unwrap_or_default();
        let source = attributes.source.and_then(|source| match source.address?.address? {
            address::Address::SocketAddress(socket) => Some(socket.address.into()),
            address::Address::Pipe(_) => None,
        });
        let http = attributes.request.unwrap_or_default().http.unwrap_or_default();
        let mut joined: Vec<(Bytes, Bytes)> =
            http.headers.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        joined.sort();
        let raw = |header: HeaderValue| RawHeader {
            key: header.key.into(),
            value: header.value.into(),
            raw_value: header.raw_value.into(),
        };
        Some(Question {
            method: http.method.into(),
            scheme: http.scheme.into(),
            host: http.host.into(),
            path: http.path.into(),
            joined,
            raw: http.header_map.map(|map| map.headers.into_iter().map(raw).collect()),
            source,
        })
    }

    fn by_us(message: &[u8]) -> Option<Question> {
        let mut question = Question::read(Bytes::copy_from_slice(message)).ok()?;
        question.joined.sort();
        Some(question)
    }

    fn messages() -> impl Strategy<Value = Vec<u8>> {
        let text = || "[a-z:/é]{0,6}";
        let pairs = || proptest::collection::hash_map(text(), text(), 0..4);
        let raw = proptest::collection::vec((text(), text(), any::<Vec<u8>>()), 0..4);
        (proptest::array::uniform5(text()), pairs(), proptest::option::of(raw), pairs()).prop_map(
            |([method, scheme, host, path, source], headers, raw, context_extensions)| {
                let raw_header = |(key, value, raw_value)| HeaderValue { key, value, raw_value };
                let raw_map = |raw: Vec<_>| raw.into_iter().map(raw_header).collect();
                let header_map = raw.map(|raw| HeaderMap { headers: raw_map(raw) });
                let http = HttpRequest {
                    method,
                    scheme,
                    host,
                    path,
                    headers,
                    header_map,
                    size: -1,
                    ..HttpRequest::default()
                };
                let socket = SocketAddress { address: source, ..SocketAddress::default() };
                let address = Some(address::Address::SocketAddress(socket));
                let source = Some(Peer { address: Some(Address { address }), ..Peer::default() });
                let request = Some(Request { http: Some(http) });
                let attributes = AttributeContext {
                    source,
                    request,
                    context_extensions,
                    ..AttributeContext::default()
                };
                CheckRequest { attributes: Some(attributes) }.encode_to_vec()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_message_is_read_as_generated_code_reads_it(message in messages()) {
            prop_assert!(by_us(&message).is_some());
            prop_assert_eq!(by_us(&message), by_prost(&message));
        }

        /// Whatever is changed in it: where both read it, they read the same. Of two addresses of one source,
        /// and of a text that is none, each is a question that no rule is for.
        #[test]
        fn no_change_is_read_as_something_else(
            mut message in messages(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            for (at, byte) in changes {
                *at.get_mut(&mut message) = byte;
            }
            if let (Some(mut ours), Some(theirs)) = (by_us(&message), by_prost(&message)) {
                if theirs.source.is_none() {
                    ours.source = None;
                }
                // A name that is there twice is lost in a map. It is refused later.
                let mut names: Vec<_> = ours.joined.iter().map(|(name, _)| name.clone()).collect();
                names.dedup();
                if names.len() < ours.joined.len() {
                    return Ok(());
                }
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
