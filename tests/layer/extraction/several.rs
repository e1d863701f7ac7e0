//! Several credentials in one request.

use http::Request;
use tower_api_key::{ApiKeyLayer, KeySource, Precedence, auth::CustomSource};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, record, request_to, send},
};

fn sources() -> [KeySource; 4] {
    [
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::query("api_key").unwrap(),
        KeySource::cookie("api_key").unwrap(),
    ]
}

fn store() -> TestStore {
    TestStore::new([record(KEY), record(OTHER_KEY)])
}

/// A request with these keys in the sources, in the order of [`sources`].
fn with_keys(keys: [Option<&str>; 4]) -> Request<()> {
    let [header, bearer, query, cookie] = keys;
    let target = query.map_or("/".to_owned(), |key| format!("/?api_key={key}"));
    let headers: Vec<_> = [
        header.map(|key| ("x-api-key", key.to_owned())),
        bearer.map(|key| ("authorization", format!("Bearer {key}"))),
        cookie.map(|key| ("cookie", format!("api_key={key}"))),
    ]
    .into_iter()
    .flatten()
    .collect();
    request_to(&target, &headers)
}

#[test]
fn one_is_let_in_from_each_source() {
    let layer = ApiKeyLayer::new(store()).with_sources(sources());
    for source in 0..4 {
        let mut keys = [None; 4];
        keys[source] = Some(KEY);
        assert_eq!(send(&layer, with_keys(keys)).outcome(), "admitted", "source {source}");
    }
}

#[test]
fn any_two_sources_are_ambiguous_even_with_the_same_key() {
    let layer = ApiKeyLayer::new(store()).with_sources(sources());
    for first in 0..4 {
        for second in first + 1..4 {
            for other in [KEY, OTHER_KEY, ""] {
                let mut keys = [None; 4];
                keys[first] = Some(KEY);
                keys[second] = Some(other);
                let outcome = send(&layer, with_keys(keys)).outcome();
                assert_eq!(outcome, "ambiguous_key", "sources {first} and {second}");
            }
        }
    }
}

/// Requests with two credentials in one source.
fn doubled() -> [Request<()>; 5] {
    let (bearer, cookie) = (format!("Bearer {KEY}"), format!("api_key={KEY}"));
    [
        request_to("/", &[("x-api-key", KEY), ("x-api-key", KEY)]),
        request_to("/", &[("authorization", &bearer), ("authorization", &bearer)]),
        request_to::<&str>(&format!("/?api_key={KEY}&api_key={KEY}"), &[]),
        request_to("/", &[("cookie", format!("{cookie}; {cookie}"))]),
        request_to("/", &[("cookie", &cookie), ("cookie", &cookie)]),
    ]
}

#[test]
fn two_in_one_source_are_ambiguous_under_either_precedence() {
    for precedence in [Precedence::RefuseSeveral, Precedence::FirstSource] {
        let layer = ApiKeyLayer::new(store()).with_sources(sources()).with_precedence(precedence);
        for request in doubled() {
            let shown = format!("{request:?}");
            assert_eq!(send(&layer, request).outcome(), "ambiguous_key", "{shown}");
        }
    }
}

#[test]
fn the_first_source_decides_in_the_configured_order() {
    let forward = ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_sources(sources())
        .with_precedence(Precedence::FirstSource);
    let backward = forward.clone().with_sources(sources().into_iter().rev());
    let request = || with_keys([Some(KEY), None, None, Some(OTHER_KEY)]);
    assert_eq!(send(&forward, request()).outcome(), "admitted");
    assert_eq!(send(&backward, request()).outcome(), "unknown_key");
}

#[test]
fn the_first_source_decides_even_when_its_key_is_not_valid() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_sources(sources())
        .with_precedence(Precedence::FirstSource);
    for (first, outcome) in [("", "malformed_key"), (OTHER_KEY, "unknown_key")] {
        let answer = send(&layer, with_keys([None, Some(first), Some(KEY), Some(KEY)]));
        assert_eq!(answer.outcome(), outcome);
    }
}

#[test]
fn the_first_source_does_not_look_into_later_ones() {
    let layer =
        ApiKeyLayer::new(store()).with_sources(sources()).with_precedence(Precedence::FirstSource);
    let mut request = with_keys([Some(KEY), None, None, None]);
    for _ in 0..2 {
        request.headers_mut().append("cookie", format!("api_key={KEY}").parse().unwrap());
    }
    assert_eq!(send(&layer, request).outcome(), "admitted");
}

#[test]
fn without_sources_every_key_is_missing() {
    let layer = ApiKeyLayer::new(store()).with_sources([]);
    assert_eq!(send(&layer, with_keys([Some(KEY); 4])).outcome(), "missing_key");
}

#[test]
fn a_source_can_be_added() {
    let layer = ApiKeyLayer::new(store()).with_source(KeySource::cookie("api_key").unwrap());
    assert_eq!(send(&layer, with_keys([Some(KEY), None, None, None])).outcome(), "admitted");
    assert_eq!(send(&layer, with_keys([None, None, None, Some(KEY)])).outcome(), "admitted");
}

#[test]
fn a_source_that_is_named_twice_is_looked_into_once() {
    let again = [
        KeySource::header("X-API-Key").unwrap(),
        KeySource::header_scheme("authorization", "bearer").unwrap(),
    ];
    let layer = ApiKeyLayer::new(store()).with_sources(sources().into_iter().chain(again));
    let layer = sources().into_iter().fold(layer, ApiKeyLayer::with_source);
    for source in 0..4 {
        let mut keys = [None; 4];
        keys[source] = Some(KEY);
        assert_eq!(send(&layer, with_keys(keys)).outcome(), "admitted", "source {source}");
    }
}

#[test]
fn sources_are_the_same_if_they_name_one_place() {
    let header = |name| KeySource::header(name).unwrap();
    let scheme = |name, scheme| KeySource::header_scheme(name, scheme).unwrap();
    let query = |name| KeySource::query(name).unwrap();
    let custom = |name| CustomSource::new(name, |_| Vec::new(), |_, _| ()).unwrap();
    // Those of one line are the same, and no two of different lines.
    let places = [
        vec![header("x-key"), header("X-Key")],
        vec![header("x-other")],
        vec![scheme("x-key", "token"), scheme("X-Key", "Token")],
        vec![scheme("x-key", "other")],
        vec![scheme("x-other", "token")],
        vec![KeySource::basic(), KeySource::basic()],
        vec![query("key"), query("key")],
        vec![query("Key")],
        vec![KeySource::cookie("key").unwrap(), KeySource::cookie("key").unwrap()],
        vec![KeySource::path_segment("/key").unwrap(), KeySource::path_segment("/key").unwrap()],
        vec![KeySource::custom(custom("key")), KeySource::custom(custom("key"))],
        vec![KeySource::custom(custom("other"))],
    ];
    for (place, sources) in places.iter().enumerate() {
        for (other_place, others) in places.iter().enumerate() {
            let (source, other) = (sources.first(), others.last());
            assert_eq!(source == other, place == other_place, "{source:?} {other:?}");
        }
    }
}
