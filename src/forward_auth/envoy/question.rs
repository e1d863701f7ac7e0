//! [`Question`]: Envoy's `CheckRequest`, in the parts of it that matter here.
//!
//! Read by hand from the bytes that were received, without copies: generated code makes a map of the headers, in
//! which a repeated one is lost without a trace. Unknown fields are passed over, as the language asks.

use bytes::Bytes;

use crate::protobuf::{Fields, Malformed, Value};

/// The account of a request. A text that is not there is empty, as everywhere in this language.
#[derive(Debug, Default, PartialEq, Eq)]
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
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RawHeader {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) raw_value: Bytes,
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
