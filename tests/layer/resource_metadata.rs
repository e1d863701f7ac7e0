//! `resource_metadata` in challenges (RFC 9728 §5.1): where it stands, and which URLs may.

use std::convert::Infallible;

use http::{Request, Response, header};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, ConfigError, KeySource, RequireScopesLayer, key::KeyRecord, store::MemoryStore,
};

use crate::{
    denials::{TABLE, denied},
    stores::TestStore,
    support::{KEY, get, header_values, record, request, respond_now, send, send_waiting},
};

const URL: &str = "https://api.example.com:8443/.well-known/oauth-protected-resource/mcp?v=1%22";

fn with_metadata(layer: ApiKeyLayer) -> ApiKeyLayer {
    layer.with_resource_metadata(URL).unwrap()
}

/// Of `Bearer` under any name, and of no other.
fn sources() -> [KeySource; 6] {
    let scheme = |header, scheme| KeySource::header_scheme(header, scheme).unwrap();
    [
        KeySource::x_api_key(),
        KeySource::bearer(),
        scheme("authorization", "Token"),
        scheme("x-authorization", "Bearer"),
        KeySource::basic().with_challenge(),
        KeySource::cookie("key").unwrap(),
    ]
}

#[tokio::test]
async fn it_stands_in_bearer_challenges_of_every_denial_that_has_some() {
    for (kind, layer, request) in denied() {
        let layer = with_metadata(layer).with_realm("shop").with_sources(sources());
        let answer = send_waiting(&layer, request).await;
        let challenges = header_values(&answer.response, header::WWW_AUTHENTICATE);
        let (_, status, _, _, error) = TABLE.into_iter().find(|row| row.0 == kind).unwrap();
        if ![400, 401].contains(&status) {
            assert!(challenges.is_empty(), "{kind:?}: {challenges:?}");
            continue;
        }
        let error = error.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
        let bearer = format!(r#"Bearer realm="shop", resource_metadata="{URL}"{error}"#);
        let of_others = challenges.iter().filter(|challenge| **challenge != bearer);
        assert_eq!(of_others.clone().count(), challenges.len() - 1, "{kind:?}: {challenges:?}");
        assert!(of_others.clone().count() >= 4, "{challenges:?}");
        assert!(of_others.clone().all(|other| !other.contains("resource_metadata")));
    }
}

#[test]
fn the_case_of_the_scheme_does_not_matter() {
    let source = KeySource::header_scheme("authorization", "bEARER").unwrap();
    let layer = with_metadata(ApiKeyLayer::new(TestStore::new([]))).with_sources([source]);
    let response = send(&layer, get("/")).response;
    let expected = format!(r#"bEARER realm="api", resource_metadata="{URL}""#);
    assert_eq!(header_values(&response, header::WWW_AUTHENTICATE), [expected]);
}

/// The layer for scopes knows nothing of it: the outer one completes its denial.
#[test]
fn it_stands_beside_the_scopes_that_are_missing() {
    let layer = with_metadata(ApiKeyLayer::new(TestStore::new([record(KEY)])));
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("inner".to_owned())));
    let service = ServiceBuilder::new()
        .layer(layer.with_sources([KeySource::bearer()]))
        .layer(RequireScopesLayer::all(["stock:write", "stock:read"]).unwrap())
        .service(inner);
    let response = respond_now(service, request(&[("authorization", format!("Bearer {KEY}"))]));
    assert_eq!(response.status(), 403);
    let expected = format!(
        r#"Bearer realm="api", resource_metadata="{URL}", error="insufficient_scope", scope="stock:read stock:write""#
    );
    assert_eq!(header_values(&response, header::WWW_AUTHENTICATE), [expected]);
}

#[test]
fn the_order_of_settings_does_not_matter() {
    let new = || ApiKeyLayer::new(TestStore::new(Vec::<KeyRecord>::new()));
    let first = with_metadata(new()).with_realm("shop").with_sources([KeySource::bearer()]);
    let last = with_metadata(new().with_sources([KeySource::bearer()]).with_realm("shop"));
    let challenges = |layer| {
        let response = send(&layer, get("/")).response;
        header_values(&response, header::WWW_AUTHENTICATE).join("\n")
    };
    let expected = format!(r#"Bearer realm="shop", resource_metadata="{URL}""#);
    assert_eq!([challenges(first), challenges(last)], [expected.clone(), expected]);
}

#[test]
fn a_url_that_cannot_stand_there_is_an_error() {
    const CHARACTER: &str = "percent-encoded";
    const ABSOLUTE: &str = "absolute";
    let refused = [
        ("", ABSOLUTE),
        ("/.well-known/oauth-protected-resource", ABSOLUTE),
        ("api.example.com/metadata", ABSOLUTE),
        ("api.example.com", ABSOLUTE),
        ("https://", ABSOLUTE),
        ("https:///metadata", ABSOLUTE),
        ("https://:443/metadata", ABSOLUTE),
        ("https:metadata", ABSOLUTE),
        ("https://api.example.com/a b", CHARACTER),
        ("https://api.example.com/\"", CHARACTER),
        ("https://api.example.com/\\", CHARACTER),
        ("https://api.example.com/\r\nset-cookie: a=b", CHARACTER),
        ("https://api.example.com/\u{7f}", CHARACTER),
        ("https://api.example.com/\u{e9}", CHARACTER),
        ("https://api.example.com/{id}", CHARACTER),
        ("https://api.example.com/#part", "fragment"),
        ("https://user:secret@api.example.com/", "user"),
        ("http://api.example.com/", "local machine"),
        ("http://127.0.0.1.example.com/", "https"),
        ("http://192.0.2.1/", "local machine"),
        ("ftp://api.example.com/", "https"),
    ];
    for (url, word) in refused {
        let layer = ApiKeyLayer::new(MemoryStore::new());
        let error = layer.with_resource_metadata(url).unwrap_err();
        assert!(matches!(error, ConfigError::ResourceMetadata { .. }), "{url}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(word), "{url}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

/// It is in each challenge, and clients bound the headers of a response.
#[test]
fn a_url_has_two_thousand_bytes_at_most() {
    let parse = |length: usize| {
        let start = "https://api.example.com/";
        let url = format!("{start}{}", "a".repeat(length - start.len()));
        ApiKeyLayer::new(MemoryStore::new()).with_resource_metadata(&url).map(drop)
    };
    for (length, is_good) in [(2_047, true), (2_048, true), (2_049, false), (100_000, false)] {
        let parsed = parse(length);
        assert_eq!(parsed.is_ok(), is_good, "{length}");
        if let Err(error) = parsed {
            assert!(matches!(error, ConfigError::ResourceMetadata { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("2048") && text.len() < 200, "{text}");
        }
    }
}

#[test]
fn a_url_stands_there_as_it_was_written() {
    for url in [
        URL,
        "https://api.example.com",
        "https://[2001:db8::1]/mcp",
        "http://localhost:3000/.well-known/oauth-protected-resource",
        "http://127.0.0.1:3000/",
        "http://[::1]/",
    ] {
        let layer = ApiKeyLayer::new(MemoryStore::new()).with_sources([KeySource::bearer()]);
        let response = send(&layer.with_resource_metadata(url).unwrap(), get("/")).response;
        let expected = format!(r#"Bearer realm="api", resource_metadata="{url}""#);
        assert_eq!(header_values(&response, header::WWW_AUTHENTICATE), [expected]);
    }
}
