//! Requests with credentials in them, and a second reading of them: plain, slow, and by the documentation.

use http::{HeaderName, HeaderValue, Request};

use super::choices::Choices;
use crate::auth::KeySource;

/// A key of the format `acme` by its shape.
pub(super) const PREFIXED: &str = "acme_Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Zq8Z";
/// A key of another system. Its last character is one that queries encode.
pub(super) const OPAQUE: &str = "opaque-key/of~another|system#1";
/// The same in a query.
const ENCODED: &str = "%6Fpaque-key/of~another%7csystem%231";

/// The same as the user name of `Basic`, without a password.
const IN_BASIC: &str = "b3BhcXVlLWtleS9vZn5hbm90aGVyfHN5c3RlbSMxOg==";

/// Bytes that stand for a key in an input, which a fuzzer would not guess.
const STAND_INS: [(u8, &str); 4] = [(1, PREFIXED), (2, OPAQUE), (3, ENCODED), (4, IN_BASIC)];

const NAMES: [&str; 6] =
    ["x-api-key", "authorization", "cookie", "x-other-key", "accept", "set-cookie"];

/// A place where keys are looked for, as the documentation has it.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Header(&'static str),
    Scheme(&'static str),
    Basic,
    Query(&'static str),
    Cookie(&'static str),
}

const PLACES: [Place; 8] = [
    Place::Header("x-api-key"),
    Place::Scheme("Bearer"),
    Place::Header("x-other-key"),
    Place::Basic,
    Place::Query("key"),
    Place::Query("a=b"),
    Place::Cookie("key"),
    Place::Cookie("session"),
];

impl Place {
    pub(super) fn source(self) -> KeySource {
        match self {
            Self::Header(name) => KeySource::header(name),
            Self::Scheme(name) => KeySource::header_scheme("authorization", name),
            Self::Basic => Ok(KeySource::basic()),
            Self::Query(name) => KeySource::query(name),
            Self::Cookie(name) => KeySource::cookie(name),
        }
        .unwrap()
    }

    /// The header that it is in.
    pub(super) const fn header(self) -> Option<&'static str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Scheme(_) | Self::Basic => Some("authorization"),
            Self::Cookie(_) => Some("cookie"),
            Self::Query(_) => None,
        }
    }

    /// The credentials of a request in this place, in their order; `None` for one that is not encoded as it should be.
    pub(super) fn credentials(self, request: &Request<()>) -> Vec<Option<Vec<u8>>> {
        let values = |name: &str| -> Vec<Vec<u8>> {
            request.headers().get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
        };
        match self {
            Self::Header(name) => {
                values(name).iter().map(|value| Some(value.trim_ascii().to_vec())).collect()
            }
            Self::Basic => values("authorization")
                .iter()
                .filter_map(|value| after("Basic", value))
                .map(|text| user_name(&text))
                .collect(),
            Self::Scheme(scheme) => values("authorization")
                .iter()
                .filter_map(|value| after(scheme, value))
                .map(Some)
                .collect(),
            Self::Query(name) => {
                let pairs = request.uri().query().into_iter().flat_map(|query| query.split('&'));
                pairs.filter_map(|pair| value_of_pair(name, pair)).collect()
            }
            Self::Cookie(name) => {
                let lines = values("cookie");
                let pieces = lines.iter().flat_map(|line| line.split(|byte| *byte == b';'));
                pieces.filter_map(|piece| value_of_cookie(name, piece)).map(Some).collect()
            }
        }
    }
}

/// The credential behind a scheme.
pub(super) fn after(scheme: &str, value: &[u8]) -> Option<Vec<u8>> {
    let value = value.trim_ascii();
    if value.len() < scheme.len()
        || value[..scheme.len()].to_ascii_lowercase() != scheme.to_ascii_lowercase().as_bytes()
    {
        return None;
    }
    let rest = &value[scheme.len()..];
    if rest.is_empty() || rest[0] == b' ' { Some(rest.trim_ascii_start().to_vec()) } else { None }
}

/// The user name of credentials without a password, if they are the one way to write it in base64.
pub(super) fn user_name(text: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let number = |digit| DIGITS.iter().position(|other| other == digit);
    let numbers: Vec<String> = digits
        .iter()
        .map(|digit| Some(format!("{:06b}", number(digit)?)))
        .collect::<Option<_>>()?;
    let bits = numbers.concat();
    let (whole, over) = bits.split_at(bits.len() / 8 * 8);
    if padding > 2
        || !text.len().is_multiple_of(4)
        || over.contains('1')
        || over.len() != 2 * padding
    {
        return None;
    }
    let byte = |bits: &[u8]| u8::from_str_radix(str::from_utf8(bits).unwrap(), 2).unwrap();
    let text: Vec<u8> = whole.as_bytes().chunks(8).map(byte).collect();
    let (name, password) = text.split_at(text.iter().position(|byte| *byte == b':')?);
    (password == b":").then(|| name.to_vec())
}

/// The value of a pair of a query, if it has this name. A bad escape in the name makes it another name, and
/// one in the value makes it no value.
#[expect(
    clippy::option_option,
    reason = "another pair, a value that cannot be read, and one that can"
)]
pub(super) fn value_of_pair(name: &str, pair: &str) -> Option<Option<Vec<u8>>> {
    let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decoded(found)? == name.as_bytes()).then(|| decoded(value))
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

/// The value of a piece of a line of cookies, if it is the cookie of this name.
pub(super) fn value_of_cookie(name: &str, piece: &[u8]) -> Option<Vec<u8>> {
    let at = piece.iter().position(|byte| *byte == b'=')?;
    if piece[..at].trim_ascii() != name.as_bytes() {
        return None;
    }
    let value = piece[at + 1..].trim_ascii();
    let is_quoted = value.len() > 1 && value[0] == b'"' && value[value.len() - 1] == b'"';
    Some(if is_quoted { value[1..value.len() - 1].to_vec() } else { value.to_vec() })
}

/// Some of the places, at least one.
pub(super) fn places(choices: &mut Choices<'_>) -> Vec<Place> {
    let some = choices.byte();
    let chosen: Vec<_> =
        (0..).zip(PLACES).filter(|(bit, _)| some >> bit & 1 == 1).map(|(_, place)| place).collect();
    if chosen.is_empty() { vec![PLACES[0]] } else { chosen }
}

/// A request of some headers and a query. What is none in HTTP is left out.
pub(super) fn request(mut choices: Choices<'_>) -> Request<()> {
    let mut request = Request::new(());
    for _ in 0..choices.below(6) {
        let name = HeaderName::from_static(choices.pick::<&str>(&NAMES));
        let is_sensitive = choices.is();
        if let Ok(mut value) = HeaderValue::from_bytes(&with_keys(choices.bytes(64))) {
            value.set_sensitive(is_sensitive);
            request.headers_mut().append(name, value);
        }
    }
    let start = *choices.pick(&["/", "/path?", "http://host/path?", "http://host?", "*"]);
    let target = [start.as_bytes(), &with_keys(choices.rest())].concat();
    if let Ok(uri) = target.as_slice().try_into() {
        *request.uri_mut() = uri;
    }
    request
}

fn with_keys(bytes: &[u8]) -> Vec<u8> {
    let key = |byte: &u8| {
        STAND_INS.iter().find(|(stand_in, _)| stand_in == byte).map(|(_, key)| key.as_bytes())
    };
    bytes.iter().flat_map(|byte| key(byte).unwrap_or(std::slice::from_ref(byte))).copied().collect()
}
