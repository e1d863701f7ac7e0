//! `Debug` and `Display` of everything that is near a key.

use std::{
    error::Error,
    fmt::{Debug, Write},
};

use http::Request;
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    ApiKeyLayer, ConfigError, IssuerSecrets, KeyFormat, KeyHasher, KeyManager, KeySource, NewKey,
    Peppers, SecretKey,
    key::KeyDigest,
    store::{FixedStore, KeyRepository, MemoryStore},
};

use crate::{
    stores::TestStore,
    support::{KEY, record, request_to, send, with_key},
};

const PEPPER: &str = "a pepper that nobody may see, 32+ bytes";
const ISSUER_SECRET: &str = "an issuer secret that nobody may see either";

/// Panics if `text` shows the key, its digest, the pepper or the issuer secret, in any of the usual
/// forms.
fn assert_shows_nothing(text: &str, key: &str) {
    let digest = KeyHasher::sha256().digest(key);
    let peppered = KeyHasher::hmac_sha256(Peppers::new(PEPPER.as_bytes()).unwrap()).digest(key);
    let listed = |digest: &KeyDigest| format!("{:?}", &digest.as_bytes()[..4]);
    for secret in [
        key,
        &key[key.len() - 12..],
        PEPPER,
        ISSUER_SECRET,
        format!("{:?}", &ISSUER_SECRET.as_bytes()[..4]).trim_end_matches(']'),
        &digest.to_hex(),
        &digest.to_hex().to_uppercase(),
        &peppered.to_hex(),
        listed(&digest).trim_end_matches(']'),
        listed(&peppered).trim_end_matches(']'),
        format!("{:?}", key.as_bytes()).as_str(),
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// A format with the issuer secret in every state.
fn sealed() -> KeyFormat {
    let secret = ISSUER_SECRET.as_bytes();
    let secrets = IssuerSecrets::new(secret).unwrap().with_next(secret).unwrap();
    let secrets = secrets.with_retired_lines(ISSUER_SECRET).unwrap();
    KeyFormat::new("acme").unwrap().sealed(secrets, &KeyHasher::sha256()).unwrap()
}

/// Both forms of `Debug`.
fn debug(value: &dyn Debug) -> String {
    format!("{value:?} {value:#?}")
}

/// `Display` and `Debug` of an error and all its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(source) = next {
        write!(text, " {source} {source:?}").unwrap();
        next = source.source();
    }
    text
}

#[test]
fn secrets_and_what_is_made_of_them() {
    let peppers = Peppers::new(PEPPER.as_bytes()).unwrap();
    let peppers = peppers.with_retired(PEPPER.as_bytes()).unwrap();
    for text in [
        debug(&SecretKey::new(KEY)),
        debug(&KeyHasher::sha256().digest(KEY)),
        debug(&peppers),
        debug(&KeyHasher::hmac_sha256(peppers)),
        debug(&record(KEY)),
        debug(&FixedStore::new().with_key("admin", KEY).unwrap()),
        debug(&IssuerSecrets::new(ISSUER_SECRET.as_bytes()).unwrap()),
        debug(&sealed()),
    ] {
        assert!(!text.is_empty());
        assert_shows_nothing(&text, KEY);
    }
}

#[tokio::test]
async fn issued_keys_and_their_manager() {
    let peppers = Peppers::new(PEPPER.as_bytes()).unwrap();
    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone())
        .with_hasher(KeyHasher::hmac_sha256(peppers))
        .with_format(sealed());
    let issued = manager.create(NewKey::named("key")).await.unwrap();
    let key = issued.secret.expose();
    let again = store.insert(&issued.record).await.unwrap_err();
    for text in [
        debug(&issued),
        debug(&issued.record),
        debug(&manager),
        debug(&store),
        debug(&manager.layer()),
        chain(&again),
    ] {
        assert_shows_nothing(&text, key);
    }
}

#[tokio::test]
async fn the_layer_its_service_and_its_future() {
    let layer = ApiKeyLayer::new(TestStore::stuck())
        .with_hasher(KeyHasher::hmac_sha256(Peppers::new(PEPPER.as_bytes()).unwrap()));
    let mut service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, ()>(http::Response::new(String::new()))));
    let future = service.call(with_key(KEY));
    assert_eq!(format!("{future:?}"), "ResponseFuture::Waiting");
    assert_shows_nothing(&debug(&layer), KEY);
}

#[test]
fn requests_responses_and_rejections() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::cookie("api_key").unwrap(),
    ]);
    for (name, value) in [
        ("x-api-key", KEY.to_owned()),
        ("authorization", format!("Bearer {KEY}")),
        ("cookie", format!("api_key={KEY}")),
    ] {
        let answer = send(&layer, request_to("/", &[(name, value)]));
        assert_shows_nothing(&debug(&answer.seen()), KEY);
        assert_shows_nothing(&debug(answer.key()), KEY);
        assert_shows_nothing(&debug(&answer.response), KEY);
    }
    for bad in ["malformed but secret", "unknown-to-the-store-0123456789"] {
        let answer = send(&layer, with_key(bad));
        assert_shows_nothing(&debug(&answer.response), bad);
        assert_shows_nothing(&debug(answer.rejection()), bad);
        assert_shows_nothing(&chain(answer.rejection()), bad);
    }
}

#[test]
fn configuration_errors() {
    let short = "short-but-secret";
    let twice = FixedStore::new().with_key("one", KEY).unwrap().with_key("two", KEY);
    let weak = FixedStore::new().with_key("weak", short).unwrap();
    let peppers = Peppers::new(ISSUER_SECRET.as_bytes()).unwrap();
    let issuer = || IssuerSecrets::new(ISSUER_SECRET.as_bytes()).unwrap();
    let errors: [ConfigError; 9] = [
        twice.unwrap_err(),
        FixedStore::new().with_key("spaced", &format!("{KEY} {KEY}")).unwrap_err(),
        FixedStore::new().with_key("short", &short[1..]).unwrap_err(),
        Peppers::new(&short.as_bytes()[1..]).unwrap_err(),
        weak.refusing_weak_keys().unwrap_err(),
        IssuerSecrets::new(&short.as_bytes()[1..]).unwrap_err(),
        IssuerSecrets::line(&format!("{short}\n{ISSUER_SECRET}")).unwrap_err(),
        sealed().sealed(issuer(), &KeyHasher::hmac_sha256(peppers)).unwrap_err(),
        KeyFormat::opaque().sealed(issuer(), &KeyHasher::sha256()).unwrap_err(),
    ];
    for error in &errors {
        assert_shows_nothing(&chain(error), KEY);
        assert!(!chain(error).contains(&short[1..]), "{error}");
    }
    assert!(errors[0].to_string().contains("\"two\""));
    assert!(errors[1].to_string().contains("\"spaced\""));
    // A prefix is no secret, but a key that was pasted in its place is.
    let pasted = KeyFormat::new(KEY).unwrap_err();
    assert_shows_nothing(&chain(&pasted), KEY);
    let pasted = KeySource::header(&format!("{KEY} ")).unwrap_err();
    assert_shows_nothing(&chain(&pasted), KEY);
}
