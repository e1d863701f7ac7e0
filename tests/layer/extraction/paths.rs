//! Keys in a segment of the path.

use tower_api_key::{ConfigError, KeySource};

use super::from;
use crate::support::{KEY, OTHER_KEY, get, request_to, send};

fn source() -> KeySource {
    KeySource::path_segment("/hooks").unwrap()
}

#[test]
fn the_segment_after_the_prefix_is_the_key() {
    for (target, expected) in [
        ("/hooks/KEY/build", "admitted"),
        ("/hooks/KEY", "admitted"),
        ("/hooks/KEY/?a=b", "admitted"),
        ("https://api.example/hooks/KEY", "admitted"),
        ("/hooks/OTHER", "unknown_key"),
        ("/hooks/", "malformed_key"),
        ("/hooks//KEY", "malformed_key"),
        ("/hooks/./KEY", "malformed_key"),
        ("/hooks/../KEY", "malformed_key"),
        ("/hooks/KEY%2Fbuild", "malformed_key"),
        ("/hooks/KEY%2fbuild/x", "malformed_key"),
        ("/hooks/%66irst-key-of-these-tests-0123456789", "malformed_key"),
        ("/hooks", "missing_key"),
        ("/hook/KEY", "missing_key"),
        ("/HOOKS/KEY", "missing_key"),
        ("//hooks/KEY", "missing_key"),
        ("/./hooks/KEY", "missing_key"),
        ("/a/../hooks/KEY", "missing_key"),
        ("/%68ooks/KEY", "missing_key"),
        ("/hooks%2FKEY", "missing_key"),
        ("/", "missing_key"),
        ("*", "missing_key"),
    ] {
        let target = target.replace("KEY", KEY).replace("OTHER", OTHER_KEY);
        assert_eq!(send(&from(source()), get(&target)).outcome(), expected, "{target}");
    }
}

#[test]
fn it_is_hidden_where_that_is_asked_for() {
    let hidden = |target: &str| {
        let answer = send(&from(source()).hide_credentials(), get(&target.replace("KEY", KEY)));
        answer.seen().uri.to_string()
    };
    assert_eq!(hidden("/hooks/KEY/build?a=%2F&b"), "/hooks/build?a=%2F&b");
    assert_eq!(hidden("/hooks/KEY"), "/hooks");
    assert_eq!(hidden("https://api.example/hooks/KEY//x"), "https://api.example/hooks//x");
    let target = format!("/hooks/{KEY}/build");
    assert_eq!(send(&from(source()), get(&target)).seen().uri.to_string(), target);
}

#[test]
fn it_is_one_of_several_sources() {
    let layer = from(source()).with_source(KeySource::x_api_key());
    let target = format!("/hooks/{KEY}");
    assert_eq!(send(&layer, request_to(&target, &[("x-api-key", KEY)])).outcome(), "ambiguous_key");
    assert_eq!(send(&layer, request_to("/other", &[("x-api-key", KEY)])).outcome(), "admitted");
}

#[test]
fn a_prefix_that_could_be_written_another_way_is_refused() {
    for bad in ["", "hooks", "/hooks/", "/a//b", "/../a", "/a%20b"] {
        let expected = Err(ConfigError::SourceName { family: "path" });
        assert_eq!(KeySource::path_segment(bad), expected, "{bad}");
    }
}

#[cfg(feature = "axum")]
mod in_axum {
    use axum::{Router, body::Body, routing::get};
    use http::{Request, StatusCode};
    use tower::Layer;

    use super::*;
    use crate::support::respond_now;

    fn request() -> Request<Body> {
        Request::get(format!("/hooks/{KEY}/build")).body(Body::empty()).unwrap()
    }

    fn router() -> Router {
        Router::new().route("/hooks/build", get(async || "built"))
    }

    #[test]
    fn around_the_router_it_works() {
        let service = from(source()).hide_credentials().layer(router());
        let response = respond_now(service, request());
        assert_eq!((response.status(), response.body().as_ref()), (StatusCode::OK, &b"built"[..]));
    }

    /// There the path may be another one, and would be judged in another form.
    #[test]
    fn inside_a_router_it_says_what_to_do() {
        let layer = from(source());
        let inside =
            router().route("/hooks/{key}/build", get(async || "built")).layer(layer.clone());
        let nested = Router::new().nest_service("/api", layer.layer(router()));
        for (app, target) in [(inside, "/hooks/KEY/build"), (nested, "/api/hooks/KEY/build")] {
            let mut request = request();
            *request.uri_mut() = target.replace("KEY", KEY).parse().unwrap();
            let response = respond_now(app, request);
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{target}");
            let text = String::from_utf8_lossy(response.body());
            assert!(text.contains("around the whole router"), "{text}");
        }
    }
}

/// Where the layer stands inside a router all the same, in which no key would be judged.
#[cfg(feature = "axum")]
#[test]
fn a_bypassed_request_keeps_no_key_in_the_target_that_axum_remembers() {
    let format = tower_api_key::KeyFormat::new("acme").unwrap();
    let key = format.generate().unwrap();
    let layer = from(source()).with_formats([format]).with_bypass(|_| true).hide_credentials();
    let mut request = get(&format!("/hooks/{}/build", key.expose()));
    let original = axum::extract::OriginalUri(request.uri().clone());
    request.extensions_mut().insert(original);
    let answer = send(&layer, request);
    let original = answer.seen().extensions.get::<axum::extract::OriginalUri>().unwrap();
    assert_eq!((answer.seen().uri.path(), original.0.path()), ("/hooks/build", "/hooks/build"));
}
