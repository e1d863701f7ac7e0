//! Mistakes in the configuration, and texts: none shows a key.

use std::ffi::OsStr;

use tower::Layer;
use tower_api_key::{
    ConfigError, SecretKey,
    client::{AttachApiKeyLayer, ClientKey, KeyFileError},
};

use crate::{
    child,
    support::{Answers, Folder, KEY, ORIGIN, get, key, layer, send},
};

#[test]
fn an_origin_has_to_be_named() {
    let none: [&str; 0] = [];
    let error = AttachApiKeyLayer::new(key(), none).unwrap_err();
    assert_eq!(error, ConfigError::NoOrigin);
    assert!(error.to_string().contains("https://api.example.com"), "{error}");
}

#[test]
fn an_origin_that_cannot_be_used_is_told_by_its_number() {
    for origin in [
        "https://user:pa55word@api.example.com",
        "https://api.example.com/pa55word",
        "http://pa55word.example.com",
        "https://*.pa55word.example.com",
        "pa55word",
    ] {
        let error = AttachApiKeyLayer::new(key(), [ORIGIN, origin]).unwrap_err();
        assert!(matches!(error, ConfigError::Origin { number: 2, .. }), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("origin 2") && !shown.contains("pa55word"), "{shown}");
    }
    let plaintext = AttachApiKeyLayer::new(key(), ["http://api.example.com"]).unwrap_err();
    assert!(plaintext.to_string().contains("https"), "{plaintext}");
    for here in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000"] {
        assert!(AttachApiKeyLayer::new(key(), [here]).is_ok(), "{here}");
    }
    assert!(AttachApiKeyLayer::insecure(key(), ["http://api.example.com"]).is_ok());
    assert!(AttachApiKeyLayer::insecure(key(), ["ftp://api.example.com"]).is_err());
}

#[test]
fn a_header_that_http_itself_reads_takes_no_key() {
    for name in [
        "",
        "a b",
        "Accept",
        "Accept-Encoding",
        "Cache-Control",
        "Connection",
        "Content-Length",
        "content-type",
        "Cookie",
        "Date",
        "Expect",
        "Forwarded",
        "Host",
        "HTTP2-Settings",
        "If-Match",
        "Keep-Alive",
        "Max-Forwards",
        "Origin",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Range",
        "Referer",
        "Sec-WebSocket-Key",
        "Set-Cookie",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "User-Agent",
        "Via",
        "X-Forwarded-For",
        "X-HTTP-Method-Override",
    ] {
        let error = layer(&[ORIGIN]).with_header(name).unwrap_err();
        assert_eq!(error, ConfigError::SourceName { family: "header" }, "{name}");
    }
    for name in
        ["X-API-Key", "apikey", "Authorization", "Ocp-Apim-Subscription-Key", "X-Auth-Token"]
    {
        assert!(layer(&[ORIGIN]).with_header(name).is_ok(), "{name}");
    }
}

#[test]
fn a_secret_that_is_no_key() {
    let long = "k".repeat(4097);
    for secret in ["", "acme_7b", "acme_ with space", "acme_\u{e9}\u{e9}\u{e9}", &long] {
        let error = ClientKey::new(&SecretKey::new(secret)).unwrap_err();
        assert_eq!(error, ConfigError::ClientKey, "{secret}");
    }
}

#[test]
fn the_environment_is_read_at_the_start() {
    if child::is_child() {
        match ClientKey::from_env(child::VARIABLE) {
            Ok(key) => println!("read {key:?}"),
            Err(error) => println!("refused {error} {error:?}"),
        }
        return;
    }
    let run = |value: Option<&str>| {
        child::run("mistakes::the_environment_is_read_at_the_start", value.map(OsStr::new))
    };
    let good = run(Some(&format!("{KEY}\n")));
    assert!(good.contains(&format!("read ClientKey {{ variable: {:?}", child::VARIABLE)), "{good}");
    assert!(!good.contains(KEY));
    assert!(run(None).contains("is not set"));
    for bad in ["", "short", "acme_key with space"] {
        let printed = run(Some(bad));
        let expected = format!("{} must hold a key of 8 to 4096", child::VARIABLE);
        assert!(printed.contains(&expected), "{printed}");
        assert!(bad.is_empty() || !printed.contains(bad), "{printed}");
    }
}

#[tokio::test]
async fn nothing_shows_the_key() {
    let folder = Folder::new();
    let file = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let mut shown = Vec::new();
    for key in [key(), file.clone()] {
        shown.push(format!("{key:?}"));
        let layer = AttachApiKeyLayer::new(key, [ORIGIN]).unwrap().with_bearer();
        shown.push(format!("{layer:?}"));
        assert!(shown[shown.len() - 1].contains("\"https://api.example.com\""), "{shown:?}");
        let service = layer.layer("a client");
        shown.push(format!("{service:?}"));
        let service = layer.layer(Answers::well());
        let future = tower::Service::call(&mut service.clone(), get(ORIGIN));
        shown.push(format!("{future:?}"));
        future.await.unwrap();
        send(&layer, &Answers::well(), get(ORIGIN)).await;
        shown.push(format!("{layer:?}"));
    }
    folder.write(format!("{KEY} and more"));
    shown.push(format!("{:?}", file.reload().await.unwrap_err()));
    shown.push(format!("{file:?} {}", file.file_error().unwrap()));
    for text in shown {
        assert!(!text.contains(KEY) && !text.contains(&KEY[KEY.len() - 8..]), "{text}");
    }
}

#[test]
fn what_clients_share_can_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>(_: T) {}
    fn send<T: Send>(_: T) {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<KeyFileError>();
    shared(key());
    shared(layer(&[ORIGIN]));
    shared(layer(&[ORIGIN]).layer(Answers::well()));
    send(crate::support::send(&layer(&[ORIGIN]), &Answers::well(), get(ORIGIN)));
}
