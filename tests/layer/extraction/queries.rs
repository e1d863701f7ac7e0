//! Keys in the query.

use std::fmt::Write;

use tower_api_key::{ApiKeyLayer, KeySource};

use super::from;
use crate::{
    stores::TestStore,
    support::{KEY, get, record, send},
};

fn layer() -> ApiKeyLayer {
    from(KeySource::query("api_key").unwrap())
}

fn outcome(query: &str) -> String {
    send(&layer(), get(&format!("/path?{query}"))).outcome()
}

/// Every byte as an escape.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        write!(escaped, "%{byte:02x}").unwrap();
        escaped
    })
}

#[test]
fn first_last_in_the_middle_and_alone() {
    for query in [
        format!("api_key={KEY}"),
        format!("api_key={KEY}&a=1"),
        format!("a=1&api_key={KEY}&b=2"),
        format!("a=1&b&&api_key={KEY}"),
        format!("?api_key=no&api_key={KEY}"),
        format!("api_keys=no&xapi_key=no&API_KEY=no&api_key={KEY}"),
    ] {
        assert_eq!(outcome(&query), "admitted", "{query}");
    }
}

#[test]
fn absent() {
    for query in
        ["", "a=1", "api_keys=1", "xapi_key=1", "API_KEY=1", "a=api_key=1", "&&&", "=api_key"]
    {
        assert_eq!(outcome(query), "missing_key", "{query}");
    }
    assert_eq!(send(&layer(), get("/api_key=1")).outcome(), "missing_key");
}

#[test]
fn escapes_are_undone_in_values_and_names() {
    assert_eq!(outcome(&format!("api_key={}", escaped(KEY))), "admitted");
    assert_eq!(outcome(&format!("api%5Fkey={KEY}")), "admitted");
    assert_eq!(outcome(&format!("{}={}", escaped("api_key"), escaped(KEY))), "admitted");
    // Two names that read the same behind the layer are the same to the layer.
    assert_eq!(outcome(&format!("api%5fkey={KEY}&api_key={KEY}")), "ambiguous_key");
    // Once and not twice.
    assert_eq!(outcome(&format!("api_key={}", escaped("%41%41%41%41%41%41"))), "unknown_key");
}

#[test]
fn plus_stays_plus() {
    let base64 = "AbCd+EfGh/IjKl+MnOp==";
    let layer = ApiKeyLayer::new(TestStore::new([record(base64)]))
        .with_sources([KeySource::query("api_key").unwrap()]);
    assert_eq!(send(&layer, get(&format!("/?api_key={base64}"))).outcome(), "admitted");
    let all_escaped = format!("/?api_key={}", escaped(base64));
    assert_eq!(send(&layer, get(&all_escaped)).outcome(), "admitted");
}

#[test]
fn what_is_not_a_key_is_malformed() {
    let half_an_escape = format!("api_key={KEY}%");
    let no_escape = format!("api_key={KEY}%zz");
    let space = format!("api_key={KEY}%20");
    let high = format!("api_key={KEY}%ff");
    let nul = format!("api_key={KEY}%00");
    for query in
        ["api_key", "api_key=", &half_an_escape, &no_escape, &space, &high, &nul, "api_key=%4"]
    {
        assert_eq!(outcome(query), "malformed_key", "{query}");
    }
    // A name with a broken escape is no name of ours.
    assert_eq!(outcome(&format!("api_key%={KEY}")), "missing_key");
}

#[test]
fn a_thousand_parameters() {
    let noise = (0..1000).fold(String::new(), |mut noise, n| {
        write!(noise, "p{n}=%2{}&", n % 10).unwrap();
        noise
    });
    assert_eq!(outcome(&noise), "missing_key");
    assert_eq!(outcome(&format!("{noise}api_key={KEY}")), "admitted");
    assert_eq!(outcome(&format!("api_key={KEY}&{noise}api_key={KEY}")), "ambiguous_key");
    assert_eq!(outcome(&format!("api_key={KEY}&").repeat(1000)), "ambiguous_key");
}
