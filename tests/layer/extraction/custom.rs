//! Keys in places that the application reads itself.

use http::{Method, header};
use tower_api_key::{ApiKeyLayer, ConfigError, KeySource, auth::CustomSource};

use super::from;
use crate::support::{KEY, header_values, request, send};

/// `X-Signature: v=1;key=<key>`
fn signature() -> CustomSource {
    CustomSource::new(
        "signature",
        |request| {
            let values = request.headers.get_all("x-signature").iter();
            let parts = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
            parts.filter_map(|part| part.strip_prefix(b"key=")).collect()
        },
        |request, is_key| {
            let Some(value) = request.headers.get("x-signature") else { return };
            let is_ours = |part: &&[u8]| part.strip_prefix(b"key=").is_some_and(is_key);
            let parts = value.as_bytes().split(|byte| *byte == b';');
            let rest = parts.filter(|part| !is_ours(part)).collect::<Vec<_>>().join(&b';');
            request.headers.insert("x-signature", rest.as_slice().try_into().unwrap());
        },
    )
    .unwrap()
}

fn layer() -> ApiKeyLayer {
    from(KeySource::custom(signature().in_header("x-signature").unwrap()))
}

fn signed(value: &str) -> http::Request<()> {
    request(&[("x-signature", value.replace("KEY", KEY))])
}

#[test]
fn what_the_function_finds_is_judged() {
    for (value, expected) in [
        ("v=1;key=KEY", "admitted"),
        ("key=KEY", "admitted"),
        ("v=1", "missing_key"),
        ("key=", "malformed_key"),
        ("key=another-key-that-is-not-known", "unknown_key"),
        ("key=KEY;key=KEY", "ambiguous_key"),
    ] {
        assert_eq!(send(&layer(), signed(value)).outcome(), expected, "{value}");
    }
}

#[test]
fn what_is_hidden_is_not_found_again() {
    let hidden = layer().hide_credentials();
    let answer = send(&hidden, signed("v=1;key=KEY"));
    assert_eq!(answer.seen().headers["x-signature"], "v=1");
    let again =
        send(&hidden, request(&[("x-signature", answer.seen().headers["x-signature"].clone())]));
    assert_eq!(again.outcome(), "missing_key");
    // Without it, the header is marked.
    assert!(send(&layer(), signed("key=KEY")).seen().headers["x-signature"].is_sensitive());
}

/// A key that a layer outside has read, of a certificate say.
#[derive(Clone)]
struct Certified(String);

#[test]
fn a_key_may_be_in_the_extensions() {
    let source = CustomSource::new(
        "certificate",
        |request| {
            request.extensions.get::<Certified>().map(|key| key.0.as_bytes()).into_iter().collect()
        },
        |request, is_key| {
            if request.extensions.get::<Certified>().is_some_and(|key| is_key(key.0.as_bytes())) {
                request.extensions.remove::<Certified>();
            }
        },
    );
    let layer = from(KeySource::custom(source.unwrap())).hide_credentials();
    let mut request = request::<&str>(&[]);
    request.extensions_mut().insert(Certified(KEY.to_owned()));
    let answer = send(&layer, request);
    assert_eq!(answer.outcome(), "admitted");
    assert!(answer.seen().extensions.get::<Certified>().is_none());
    assert!(header_values(&answer.response, header::VARY).is_empty());
}

#[test]
fn the_source_says_what_responses_depend_on_and_how_it_is_asked_for() {
    let challenge = |source| {
        let answer = send(&from(KeySource::custom(source)), request::<&str>(&[]));
        header_values(&answer.response, header::WWW_AUTHENTICATE).join("; ")
    };
    assert_eq!(challenge(signature()), r#"ApiKey realm="api", in="custom", name="signature""#);
    let in_header = signature().in_header("x-signature").unwrap();
    assert_eq!(challenge(in_header), r#"ApiKey realm="api", in="header", name="x-signature""#);
    let own = signature().with_challenge(r#"Signature realm="x""#).unwrap();
    assert_eq!(challenge(own), r#"Signature realm="x""#);
    let answer = send(&layer(), signed("key=KEY"));
    assert_eq!(header_values(&answer.response, header::VARY), ["x-signature"]);
}

#[test]
fn one_that_browsers_send_is_judged_as_cookies_are() {
    for (source, expected) in
        [(signature(), "admitted"), (signature().sent_by_browsers(), "cross_site_request")]
    {
        let mut request = signed("key=KEY");
        *request.method_mut() = Method::POST;
        request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert_eq!(send(&from(KeySource::custom(source)), request).outcome(), expected);
    }
}

#[test]
fn names_that_cannot_be_written_are_refused() {
    for bad in ["", "two words", "ключ"] {
        let expected = ConfigError::SourceName { family: "custom" };
        assert_eq!(CustomSource::new(bad, |_| Vec::new(), |_, _| {}).unwrap_err(), expected);
    }
    assert!(signature().in_header("x y").is_err());
    assert!(signature().with_challenge("").is_err());
    assert!(signature().with_challenge("a\nb").is_err());
}
