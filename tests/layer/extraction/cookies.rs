//! Keys in cookies.

use tower_api_key::{ApiKeyLayer, KeySource};

use super::from;
use crate::support::{KEY, request, send};

fn layer() -> ApiKeyLayer {
    from(KeySource::cookie("api_key").unwrap())
}

fn outcome(lines: &[String]) -> String {
    let headers: Vec<_> = lines.iter().map(|line| ("cookie", line)).collect();
    send(&layer(), request(&headers)).outcome()
}

#[test]
fn first_last_in_the_middle_and_alone() {
    for line in [
        format!("api_key={KEY}"),
        format!("api_key={KEY}; a=1"),
        format!("a=1; api_key={KEY}; b=2"),
        format!("a=1; api_key={KEY}"),
        // Lenient about spaces, as servers are.
        format!("a=1;api_key={KEY};b=2"),
        format!("a=1;   api_key = {KEY}  ; b=2"),
        format!("; ;api_key={KEY};;"),
        // A piece without `=` is no cookie of ours.
        format!("api_key; api_key={KEY}"),
        format!("{KEY}; api_key={KEY}"),
    ] {
        assert_eq!(outcome(std::slice::from_ref(&line)), "admitted", "{line}");
    }
}

#[test]
fn quoted_values() {
    assert_eq!(outcome(&[format!("api_key=\"{KEY}\"")]), "admitted");
    for line in [format!("api_key=\"{KEY}"), format!("api_key=\"\"{KEY}\"\"")] {
        assert_eq!(outcome(std::slice::from_ref(&line)), "unknown_key", "{line}");
    }
    for line in ["api_key=\"\"", "api_key=\"", "api_key=", "api_key = "] {
        assert_eq!(outcome(&[line.to_owned()]), "malformed_key", "{line}");
    }
}

#[test]
fn several_lines() {
    let key = format!("api_key={KEY}");
    let other = "a=1; b=2".to_owned();
    assert_eq!(outcome(&[other.clone(), key.clone()]), "admitted");
    assert_eq!(outcome(&[key.clone(), other.clone()]), "admitted");
    assert_eq!(outcome(&[key.clone(), other, key]), "ambiguous_key");
}

#[test]
fn absent() {
    for line in
        ["", "a=1", "api_key", KEY, "API_KEY=1", "xapi_key=1", "api_keys=1", "a=api_key=1", "=1"]
    {
        assert_eq!(outcome(&[line.to_owned()]), "missing_key", "{line}");
    }
}

#[test]
fn escapes_mean_nothing_in_cookies() {
    assert_eq!(outcome(&[format!("api%5Fkey={KEY}")]), "missing_key");
    assert_eq!(outcome(&[format!("api_key={KEY}%20")]), "unknown_key");
}
