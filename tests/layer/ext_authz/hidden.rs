//! `hide_credentials`: Envoy takes the key out of the request that goes on.

use tower_api_key::{ConfigError, KeySource};

use super::*;
use crate::envoy::envoy::config::core::v3::HeaderValue;

fn hiding(sources: impl IntoIterator<Item = KeySource>) -> ExtAuthz {
    service(layer().with_sources(sources).hide_credentials())
}

#[test]
fn the_key_goes_no_further() {
    let service = hiding([KeySource::x_api_key(), KeySource::bearer()]);
    let bearer = format!("Bearer {KEY}");
    for form in FORMS {
        for sent in [good(), ("authorization", &*bearer)] {
            let answer = ask(&service, &question(form, "GET", "/orders/7", &[sent]));
            assert_eq!(answer.removed, ["x-api-key", "authorization"]);
            assert_eq!(answer.headers.len(), 3);
        }
    }
}

/// What is no key of ours stays.
#[test]
fn the_rest_of_a_header_stays() {
    let cookie = KeySource::cookie("key").unwrap();
    let service = hiding([KeySource::x_api_key(), KeySource::bearer(), cookie]);
    let (basic, cookies) = ("Basic YTpi", format!("a=1; key={KEY}; b=2"));
    for form in FORMS {
        let sent = [good(), ("authorization", basic), ("cookie", "a=1")];
        let answer = ask(&service, &question(form, "GET", "/orders/7", &sent));
        assert_eq!(answer.removed, ["x-api-key"]);
        assert_eq!(answer.values("authorization"), [basic]);
        assert_eq!(answer.values("cookie"), ["a=1"]);

        let sent = [("authorization", basic), ("cookie", &*cookies)];
        let answer = ask(&service, &question(form, "GET", "/orders/7", &sent));
        assert_eq!(answer.removed, ["x-api-key"]);
        assert_eq!(answer.values("cookie"), ["a=1; b=2"]);
    }
    // No text stands for other bytes, and no single value for two.
    let mut asked = question(Form::Raw, "GET", "/orders/7", &[good()]);
    let map = http(&mut asked).header_map.as_mut().unwrap();
    let (key, raw_value) = ("authorization".into(), b"Basic \xff".into());
    map.headers.push(HeaderValue { key, raw_value, ..HeaderValue::default() });
    assert!(is_refused(&service, &asked));
    let sent = [good(), ("authorization", basic), ("authorization", "Digest a")];
    let answer = ask(&service, &question(Form::Raw, "GET", "/orders/7", &sent));
    assert_eq!(answer.code(), "forward_auth_refused");
    assert!(!is_refused(&super::service(layer()), &asked), "nothing is hidden");
}

#[test]
fn a_place_that_envoy_cannot_empty_is_an_error() {
    for source in [
        KeySource::query("api_key"),
        KeySource::path_segment("/hooks"),
        KeySource::websocket_protocol("api-key"),
    ] {
        let layer = layer().with_sources([source.unwrap()]);
        assert!(with_rules(ExtAuthz::builder(layer.clone())).build().is_ok());
        let error = with_rules(ExtAuthz::builder(layer.hide_credentials())).build().unwrap_err();
        assert!(matches!(error, ConfigError::Contradiction { .. }), "{error}");
    }
}
