//! Keys as the user name of `Authorization: Basic`.

use http::{Method, header};
use tower_api_key::{ApiKeyLayer, KeySource};

use super::from;
use crate::support::{KEY, KEY_IN_BASIC, header_values, request, send};

fn outcome(value: &str) -> String {
    send(&from(KeySource::basic()), request(&[("authorization", value)])).outcome()
}

#[test]
fn the_user_name_is_the_key() {
    for (value, expected) in [
        (format!("Basic {KEY_IN_BASIC}"), "admitted"),
        (format!("bASIC   {KEY_IN_BASIC}"), "admitted"),
        (format!("\tBasic {KEY_IN_BASIC} "), "admitted"),
        (format!("Basic{KEY_IN_BASIC}"), "missing_key"),
        (format!("Bearer {KEY}"), "missing_key"),
        (KEY_IN_BASIC.to_owned(), "missing_key"),
        // Not encoded, encoded twice in a row, and with something behind it.
        (format!("Basic {KEY}"), "malformed_key"),
        (format!("Basic {KEY_IN_BASIC}{KEY_IN_BASIC}"), "malformed_key"),
        (format!("Basic {KEY_IN_BASIC} x"), "malformed_key"),
        ("Basic".to_owned(), "malformed_key"),
        // `:`
        ("Basic Og==".to_owned(), "malformed_key"),
    ] {
        assert_eq!(outcome(&value), expected, "{value:?}");
    }
}

/// With a password, with the key as the password, without a colon, and with two.
#[test]
fn a_password_makes_it_malformed() {
    for credentials in [
        "Zmlyc3Qta2V5LW9mLXRoZXNlLXRlc3RzLTAxMjM0NTY3ODk6cHc=",
        "OmZpcnN0LWtleS1vZi10aGVzZS10ZXN0cy0wMTIzNDU2Nzg5",
        "Zmlyc3Qta2V5LW9mLXRoZXNlLXRlc3RzLTAxMjM0NTY3ODk=",
        "Zmlyc3Qta2V5LW9mLXRoZXNlLXRlc3RzLTAxMjM0NTY3ODk6Og==",
    ] {
        assert_eq!(outcome(&format!("Basic {credentials}")), "malformed_key", "{credentials}");
    }
}

#[test]
fn a_browser_is_not_made_to_ask_its_user() {
    let challenges = |source| {
        let answer = send(&from(source), request::<&str>(&[]));
        header_values(&answer.response, header::WWW_AUTHENTICATE).join("; ")
    };
    assert_eq!(challenges(KeySource::basic()), r#"ApiKey realm="api""#);
    assert_eq!(challenges(KeySource::basic().with_challenge()), r#"Basic realm="api""#);
}

#[test]
fn another_site_cannot_use_what_the_browser_remembers() {
    let authorization = format!("Basic {KEY_IN_BASIC}");
    let from_site = |method: Method, site: &str| {
        let headers = [("authorization", authorization.as_str()), ("sec-fetch-site", site)];
        let mut request = request(&headers);
        *request.method_mut() = method;
        send(&from(KeySource::basic()), request).outcome()
    };
    assert_eq!(from_site(Method::POST, "cross-site"), "cross_site_request");
    assert_eq!(from_site(Method::POST, "same-origin"), "admitted");
    assert_eq!(from_site(Method::GET, "cross-site"), "admitted");
}

#[test]
fn it_is_hidden_and_marked() {
    let ours = format!("Basic {KEY_IN_BASIC}");
    let of_others = ["Basic dXNlcjpwYXNz", "Bearer a-token"];
    let both = |layer: &ApiKeyLayer| {
        let headers = [("authorization", ours.as_str()), ("authorization", of_others[1])];
        let answer = send(layer, request(&headers));
        let seen = answer.seen().headers.get_all("authorization").iter();
        seen.map(|value| (value.to_str().unwrap().to_owned(), value.is_sensitive())).collect()
    };
    let layer = from(KeySource::basic());
    let marked: Vec<_> = both(&layer);
    assert_eq!(marked, [(ours.clone(), true), (of_others[1].to_owned(), true)]);
    let left: Vec<_> = both(&layer.hide_credentials());
    assert_eq!(left, [(of_others[1].to_owned(), false)]);
}

#[test]
fn the_scheme_is_not_read_as_it_is() {
    for scheme in ["Basic", "bAsIc"] {
        assert!(KeySource::header_scheme("authorization", scheme).is_err());
    }
}
