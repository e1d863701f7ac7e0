//! Envoy's `CheckResponse`, of a decision.

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    forward_auth::{
        decision::{Answer, is_granted},
        granting::LeftOver,
    },
    inner::IdentityHeaders,
    protobuf::{nested, number, text},
};

/// A serialised `CheckResponse`.
pub(super) fn answer(decided: &Answer, identity: &IdentityHeaders) -> Vec<u8> {
    let mut message = Vec::with_capacity(512);
    let mut status = Vec::new();
    if is_granted(decided) {
        nested(&mut message, 1, &status);
        nested(&mut message, 3, &let_in(decided, identity));
    } else {
        number(&mut status, 1, code(decided.status()).into());
        nested(&mut message, 1, &status);
        nested(&mut message, 2, &denied(decided, identity));
    }
    message
}

/// An `OkHttpResponse`: changes to the request that goes on.
fn let_in(decided: &Answer, identity: &IdentityHeaders) -> Vec<u8> {
    let mut message = Vec::with_capacity(256);
    for name in identity.names() {
        let value = decided.headers().get(name).map_or(&[][..], HeaderValue::as_bytes);
        nested(&mut message, 2, &overwrite(name, value));
    }
    let left_over = decided.extensions().get::<LeftOver>();
    for (name, value) in left_over.map_or(&[][..], |LeftOver(all)| all) {
        match value {
            Some(value) => nested(&mut message, 2, &overwrite(name, value.as_bytes())),
            None => text(&mut message, 5, name.as_str()),
        }
    }
    message
}

/// A `DeniedHttpResponse`: the response to the client.
fn denied(decided: &Answer, identity: &IdentityHeaders) -> Vec<u8> {
    let (mut message, mut status) = (Vec::with_capacity(512), Vec::new());
    number(&mut status, 1, decided.status().as_u16().into());
    nested(&mut message, 1, &status);
    // Envoy counts the body itself, and no service is told of an identity.
    let is_told =
        |name: &&HeaderName| **name != header::CONTENT_LENGTH && !identity.names().contains(name);
    for name in decided.headers().keys().filter(is_told) {
        let mut is_first = true;
        for value in decided.headers().get_all(name) {
            let option = if is_first { overwrite } else { add };
            nested(&mut message, 2, &option(name, value.as_bytes()));
            is_first = false;
        }
    }
    let body = decided.body().denial_text().unwrap_or_default();
    text(&mut message, 3, &String::from_utf8_lossy(body));
    message
}

/// A `HeaderValueOption` in place of all other values of this name. Releases of Envoy differ in their
/// default, and read this field alike.
fn overwrite(name: &HeaderName, value: &[u8]) -> Vec<u8> {
    let mut option = option(name, value);
    // A `BoolValue` that is false.
    nested(&mut option, 2, &[]);
    number(&mut option, 4, 1);
    option
}

/// A `HeaderValueOption` beside the others: the default of new releases, while old ones keep several that are
/// new in one answer.
fn add(name: &HeaderName, value: &[u8]) -> Vec<u8> {
    let mut option = option(name, value);
    number(&mut option, 4, 1);
    option
}

/// Its header. A text, so other bytes than UTF-8 are replaced.
fn option(name: &HeaderName, value: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(name.as_str().len() + value.len() + 8);
    text(&mut header, 1, name.as_str());
    text(&mut header, 2, &String::from_utf8_lossy(value));
    let mut option = Vec::with_capacity(header.len() + 8);
    nested(&mut option, 1, &header);
    option
}

/// The code of `google.rpc` for a denial. Never 0, which would let it in.
fn code(status: StatusCode) -> u8 {
    match status {
        StatusCode::BAD_REQUEST => 3,
        StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::UNAUTHORIZED => 16,
        status if status.is_server_error() => 14,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_code() {
        for (status, expected) in [
            (StatusCode::BAD_REQUEST, 3),
            (StatusCode::UNAUTHORIZED, 16),
            (StatusCode::FORBIDDEN, 7),
            (StatusCode::TOO_MANY_REQUESTS, 8),
            (StatusCode::INTERNAL_SERVER_ERROR, 14),
            (StatusCode::SERVICE_UNAVAILABLE, 14),
        ] {
            assert_eq!(code(status), expected, "{status}");
        }
    }
}
