//! After hiding, no key of ours is left in its place, and every other byte is.

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::{
    choices::Choices,
    requests::{OPAQUE, Place, after, places, request, user_name, value_of_cookie, value_of_pair},
};
use crate::{
    auth::extract::{Ours, hide},
    key::KeyFormat,
};

/// A header of a request, as compared.
type Line = (String, Vec<u8>, bool);

/// Hiding leaves what is left when the pieces with keys are taken out one by one.
pub fn hiding(input: &[u8]) {
    let mut choices = Choices::new(input);
    let formats = [KeyFormat::new("acme").unwrap(), KeyFormat::opaque()];
    let formats = &formats[..choices.below(3)];
    let judged = choices.is().then_some(OPAQUE.as_bytes());
    let ours = Ours { formats, judged };
    let is_ours = |key: &[u8]| judged == Some(key) || (!formats.is_empty() && is_acme(key));
    let places = places(&mut choices);
    let mut request = request(choices);
    let sources: Vec<_> = places.iter().map(|place| place.source()).collect();
    #[cfg(feature = "axum")]
    {
        let copy = axum::extract::OriginalUri(request.uri().clone());
        request.extensions_mut().insert(copy);
    }

    let (lines, query) = without_keys(&places, &request, is_ours);
    let before = request.uri().clone();
    hide(&ours, &sources, &mut request);

    assert_eq!(by_name(request.headers()), lines);
    assert_eq!(request.uri().query(), query.as_deref());
    assert_eq!(request.uri().path(), before.path());
    assert_eq!(request.uri().host(), before.host());
    for place in &places {
        let left = place.credentials(&request);
        assert!(!left.iter().flatten().any(|key| is_ours(key)), "a key is left");
    }
    #[cfg(feature = "axum")]
    {
        let copy = request.extensions().get::<axum::extract::OriginalUri>().unwrap();
        assert_eq!(copy.0, *request.uri());
    }
    hide(&ours, &sources, &mut request);
    assert_eq!(by_name(request.headers()), lines);
}

/// The shape of a key of the format `acme`, with a checksum or a seal.
fn is_acme(key: &[u8]) -> bool {
    let Ok(key) = str::from_utf8(key) else { return false };
    let Some(rest) = key.strip_prefix("acme_") else { return false };
    [49, 55].contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The headers and the query of a request, built anew without keys of ours.
fn without_keys(
    places: &[Place],
    request: &Request<()>,
    is_ours: impl Fn(&[u8]) -> bool,
) -> (Vec<Line>, Option<String>) {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let kept = places
            .iter()
            .try_fold(value.clone(), |value, place| kept(*place, name, value, &is_ours));
        if let Some(value) = kept {
            headers.append(name, value);
        }
    }
    let mut query = request.uri().query().map(str::to_owned);
    for place in places {
        let (Place::Query(name), Some(text)) = (place, query.clone()) else { continue };
        let is_kept =
            |pair: &&str| !value_of_pair(name, pair).flatten().is_some_and(|key| is_ours(&key));
        let pairs: Vec<_> = text.split('&').filter(is_kept).collect();
        query = (!pairs.is_empty()).then(|| pairs.join("&"));
    }
    (by_name(&headers), query)
}

/// What is left of a value in this place.
fn kept(
    place: Place,
    name: &HeaderName,
    value: HeaderValue,
    is_ours: &impl Fn(&[u8]) -> bool,
) -> Option<HeaderValue> {
    if place.header() != Some(name.as_str()) {
        return Some(value);
    }
    let name = match place {
        Place::Header(_) => return (!is_ours(value.as_bytes().trim_ascii())).then_some(value),
        Place::Basic => {
            let key = after("Basic", value.as_bytes()).and_then(|text| user_name(&text));
            return (!key.is_some_and(|key| is_ours(&key))).then_some(value);
        }
        Place::Scheme(scheme) => {
            let key = after(scheme, value.as_bytes());
            return (!key.is_some_and(|key| is_ours(&key))).then_some(value);
        }
        Place::Cookie(name) => name,
        Place::Query(_) => return Some(value),
    };
    let mut line: Vec<u8> = Vec::new();
    let (mut number, mut left, mut starts) = (0, 0, false);
    for piece in value.as_bytes().split(|byte| *byte == b';') {
        number += 1;
        if value_of_cookie(name, piece).is_some_and(|key| is_ours(&key)) {
            starts |= number == 1;
            continue;
        }
        if left > 0 {
            line.push(b';');
        }
        line.extend_from_slice(piece);
        left += 1;
    }
    if left == number {
        return Some(value);
    }
    if left == 0 {
        return None;
    }
    let line = if starts { line.trim_ascii_start() } else { &line };
    let mut new = HeaderValue::from_bytes(line).unwrap();
    new.set_sensitive(value.is_sensitive());
    Some(new)
}

/// Headers in the order of their names. Those of one name stay in theirs.
fn by_name(headers: &HeaderMap) -> Vec<Line> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec(), value.is_sensitive())
    };
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}
