//! Keys among the sub-protocols that the client of a WebSocket offers (RFC 6455 §11.3.4): after a name, which
//! the service may choose in their place.

use std::mem;

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};

use super::{Credential, KeySource, SourceKind};
use crate::request::RequestHead;

/// The name beside the key of a WebSocket, for its response.
#[derive(Clone, Copy)]
pub(crate) struct Subprotocol {
    /// Index of the source.
    source: u16,
    /// The status by which the WebSocket is accepted is 200, and not 101.
    by_connect: bool,
}

impl Subprotocol {
    /// Of a request whose key was in this source.
    #[cold]
    pub(crate) fn of(sources: &[KeySource], source: u16, head: &RequestHead<'_>) -> Option<Self> {
        name(sources, source).map(|_| Self { source, by_connect: is_extended_connect(head) })
    }

    /// Chooses the name in the response that accepts the WebSocket, where the service chose no protocol: a
    /// browser that offered some ends the connection without a choice.
    #[cold]
    pub(crate) fn choose(self, sources: &[KeySource], status: StatusCode, headers: &mut HeaderMap) {
        let is_accepted = if self.by_connect {
            status.is_success()
        } else {
            status == StatusCode::SWITCHING_PROTOCOLS
        };
        let name = name(sources, self.source).and_then(|name| HeaderValue::from_str(name).ok());
        if let (true, Some(name)) = (is_accepted, name) {
            headers.entry(SEC_WEBSOCKET_PROTOCOL).or_insert(name);
        }
    }
}

/// Takes the keys out of the lists of all such sources, also where another key or none let the request in: a
/// service may choose any element, and would repeat it.
#[cold]
pub(crate) fn take_websocket_keys<B>(sources: &[KeySource], request: &mut Request<B>) {
    if !asks_for_websocket(&RequestHead::from(&*request)) {
        return;
    }
    for source in sources {
        if let SourceKind::WebSocketProtocol(name) = source.kind() {
            take_keys(name, request.headers_mut());
        }
    }
}

fn name(sources: &[KeySource], source: u16) -> Option<&str> {
    match sources.get(usize::from(source))?.kind() {
        SourceKind::WebSocketProtocol(name) => Some(name),
        _ => None,
    }
}

/// The keys of a request: each element that follows one that is `name`. A name at the end of the list is an
/// empty credential.
pub(super) fn each<'r>(name: &str, head: &RequestHead<'r>, mut found: impl FnMut(Credential<'r>)) {
    if !asks_for_websocket(head) {
        return;
    }
    let mut follows_name = false;
    for (element, _) in elements(head.headers) {
        if follows_name {
            found(Credential::plain(element));
            follows_name = false;
        } else {
            follows_name = element == name.as_bytes();
        }
    }
    if follows_name {
        found(Credential::plain(&[]));
    }
}

/// Takes the keys out of the list, and leaves the names. A line with nothing else goes.
fn take_keys(name: &str, headers: &mut HeaderMap) {
    let mut lines: Vec<(usize, Vec<&[u8]>)> = Vec::new();
    let (mut follows_name, mut holds_key) = (false, false);
    for (element, line) in elements(headers) {
        if mem::take(&mut follows_name) {
            holds_key = true;
            continue;
        }
        follows_name = element == name.as_bytes();
        match lines.last_mut() {
            Some((last, elements)) if *last == line => elements.push(element),
            _ => lines.push((line, vec![element])),
        }
    }
    if !holds_key {
        return;
    }
    let value = |(_, elements): (usize, Vec<&[u8]>)| {
        // Parts of a value make one.
        HeaderValue::from_bytes(&elements.join(&b", "[..])).ok()
    };
    let rest: Vec<HeaderValue> = lines.into_iter().filter_map(value).collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for line in rest {
        headers.append(SEC_WEBSOCKET_PROTOCOL, line);
    }
}

/// The elements of the list, each with the number of its line. Empty ones do not count (RFC 9110 §5.6.1).
fn elements(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], usize)> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().enumerate();
    let elements = lines.flat_map(|(number, line)| {
        line.as_bytes().split(|byte| *byte == b',').map(move |element| (element, number))
    });
    elements
        .map(|(element, line)| (element.trim_ascii(), line))
        .filter(|(element, _)| !element.is_empty())
}

/// RFC 6455 §4.1, or RFC 8441 §5. Of an extended `CONNECT`, the server alone knows the protocol; an
/// ordinary one has neither scheme nor path.
fn asks_for_websocket(head: &RequestHead<'_>) -> bool {
    is_extended_connect(head) || upgrades_to_websocket(head.headers)
}

fn is_extended_connect(head: &RequestHead<'_>) -> bool {
    head.method == Method::CONNECT && head.uri.scheme().is_some() && !head.uri.path().is_empty()
}

fn upgrades_to_websocket(headers: &HeaderMap) -> bool {
    let values = headers.get_all(UPGRADE).iter();
    let mut protocols = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}
