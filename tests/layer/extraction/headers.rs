//! Keys in headers and behind authorization schemes.

use tower_api_key::{ApiKeyLayer, KeySource};

use super::from;
use crate::{
    stores::TestStore,
    support::{KEY, record, request, send},
};

#[test]
fn a_header_of_any_name() {
    let layer = from(KeySource::header("X-Shop-Key").unwrap());
    assert_eq!(send(&layer, request(&[("x-shop-key", KEY)])).outcome(), "admitted");
    // The default names mean nothing any more.
    let bearer = format!("Bearer {KEY}");
    let elsewhere = [("x-api-key", KEY), ("authorization", &bearer)];
    assert_eq!(send(&layer, request(&elsewhere)).outcome(), "missing_key");
}

#[test]
fn the_whole_value_of_a_header_is_the_key() {
    let layer = from(KeySource::x_api_key());
    for (value, outcome) in [
        (String::new(), "malformed_key"),
        (format!("Bearer {KEY}"), "malformed_key"),
        (format!("{KEY} {KEY}"), "malformed_key"),
        (format!("{KEY},"), "unknown_key"),
        (format!("\"{KEY}\""), "unknown_key"),
        (format!("%20{KEY}"), "unknown_key"),
    ] {
        assert_eq!(send(&layer, request(&[("x-api-key", &value)])).outcome(), outcome, "{value:?}");
    }
}

/// HTTP/1 takes it away, and HTTP/2 leaves it.
#[test]
fn white_space_around_a_value_is_no_part_of_it() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_source(KeySource::header_scheme("x-auth", "Token").unwrap());
    let bearer = format!("Bearer {KEY}");
    for (name, value) in [("x-api-key", KEY), ("authorization", &bearer), ("x-auth", &bearer)] {
        let value = value.replace("Bearer", if name == "x-auth" { "Token" } else { "Bearer" });
        for around in [" ", "\t", " \t  "] {
            for value in [format!("{around}{value}"), format!("{value}{around}")] {
                for layer in [layer.clone(), layer.clone().hide_credentials()] {
                    let answer = send(&layer, request(&[(name, &value)]));
                    assert_eq!(answer.outcome(), "admitted", "{value:?}");
                }
                let hidden = send(&layer.clone().hide_credentials(), request(&[(name, &value)]));
                assert!(!hidden.seen().headers.contains_key(name), "{value:?}");
                let twice = send(&layer, request(&[(name, &value), (name, &value)]));
                assert_eq!(twice.outcome(), "ambiguous_key");
            }
        }
    }
}

#[test]
fn bearer() {
    let layer = from(KeySource::bearer());
    for (value, outcome) in [
        (format!("Bearer {KEY}"), "admitted"),
        (format!("bearer {KEY}"), "admitted"),
        (format!("BEARER {KEY}"), "admitted"),
        (format!("bEaReR    {KEY}"), "admitted"),
        // The scheme is there, so there is a credential, and it is not a key.
        ("Bearer".into(), "malformed_key"),
        ("Bearer ".into(), "malformed_key"),
        (format!("Bearer {KEY} {KEY}"), "malformed_key"),
        (format!("Bearer Bearer {KEY}"), "malformed_key"),
        // Other schemes are somebody else's.
        (format!("Basic {KEY}"), "missing_key"),
        (format!("BearerToken {KEY}"), "missing_key"),
        (format!("Bearer{KEY}"), "missing_key"),
        (format!("Bear {KEY}"), "missing_key"),
        (KEY.into(), "missing_key"),
        (String::new(), "missing_key"),
    ] {
        let answer = send(&layer, request(&[("authorization", &value)]));
        assert_eq!(answer.outcome(), outcome, "{value:?}");
    }
}

#[test]
fn another_scheme() {
    let layer = from(KeySource::header_scheme("authorization", "Token").unwrap());
    let authorization = |value: String| request(&[("authorization", value)]);
    assert_eq!(send(&layer, authorization(format!("token {KEY}"))).outcome(), "admitted");
    assert_eq!(send(&layer, authorization(format!("Bearer {KEY}"))).outcome(), "missing_key");

    let layer = from(KeySource::header_scheme("X-Auth", "Token").unwrap());
    let in_header = |name| send(&layer, request(&[(name, format!("TOKEN {KEY}"))])).outcome();
    assert_eq!(in_header("x-auth"), "admitted");
    assert_eq!(in_header("authorization"), "missing_key");
}

#[test]
fn somebody_elses_authorization_is_left_alone() {
    let layer = from(KeySource::bearer()).hide_credentials();
    let ours = format!("Bearer {KEY}");
    let headers = [("authorization", "Basic dXNlcjpwYXNz"), ("authorization", &ours)];
    let answer = send(&layer, request(&headers));
    let left: Vec<_> = answer.seen().headers.get_all("authorization").iter().collect();
    assert_eq!(left, ["Basic dXNlcjpwYXNz"]);

    let layer = from(KeySource::x_api_key());
    let answer = send(&layer, request(&[("authorization", &*ours), ("x-api-key", KEY)]));
    assert_eq!(answer.seen().headers["authorization"], ours);
}

#[test]
fn names_that_cannot_be_sent_are_refused_at_once() {
    for bad in ["", "x api key", "x-käy", "x:y", "x=y", "x;y", "x\n"] {
        assert!(KeySource::header(bad).is_err(), "{bad:?}");
        assert!(KeySource::header_scheme("authorization", bad).is_err(), "{bad:?}");
        assert!(KeySource::cookie(bad).is_err(), "{bad:?}");
    }
    assert!(KeySource::query("").is_err());
    let error = KeySource::cookie("x=y").unwrap_err().to_string();
    assert!(error.contains("cookie"), "{error}");
}
