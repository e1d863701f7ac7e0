//! Which requests have the key, and where in them it is.

use http::header::{AUTHORIZATION, CONNECTION, HOST};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_api_key::{
    SecretKey,
    client::{AttachApiKeyLayer, ClientKey},
};

use crate::support::{
    Answers, KEY, ORIGIN, OTHER_KEY, X_API_KEY, get, get_empty, http_client, key, layer, send,
    serve,
};

#[tokio::test]
async fn a_real_server_gets_the_key() {
    let answers = Answers::well();
    let origin = serve(answers.clone()).await;
    let layer = layer(&[&origin]);
    let named = layer.clone().with_header("X-Partner-Key").unwrap();
    for (layer, name, value) in [
        (&layer, X_API_KEY, KEY.to_owned()),
        (&layer.clone().with_bearer(), AUTHORIZATION, format!("Bearer {KEY}")),
        (&named, "x-partner-key".parse().unwrap(), KEY.to_owned()),
        // The last one holds.
        (&layer.clone().with_bearer().with_header("x-api-key").unwrap(), X_API_KEY, KEY.into()),
    ] {
        let client = layer.layer(http_client());
        let response = client.oneshot(get_empty(&format!("{origin}/orders?a=b"))).await.unwrap();
        assert_eq!(response.status(), 200);
        let seen = answers.seen_once();
        assert_eq!(seen.all(&name), [value]);
        assert_eq!(seen.target, "/orders?a=b");
        let credentials = [X_API_KEY, AUTHORIZATION, "x-partner-key".parse().unwrap()];
        let others = credentials.iter().filter(|other| **other != name);
        assert!(others.into_iter().all(|other| !seen.headers.contains_key(other)));
    }
}

#[tokio::test]
async fn the_value_is_marked_sensitive() {
    let answers = Answers::well();
    for layer in [layer(&[ORIGIN]), layer(&[ORIGIN]).with_bearer()] {
        send(&layer, &answers, get(ORIGIN)).await;
        let seen = answers.seen_once();
        assert_eq!(seen.headers.len(), 1);
        assert!(seen.headers.values().all(http::HeaderValue::is_sensitive));
        assert!(!format!("{:?}", seen.headers).contains(KEY));
    }
}

#[tokio::test]
async fn the_key_goes_to_the_named_origins_and_no_other() {
    let layer = layer(&[ORIGIN, "https://api.example.com:8443", "http://127.0.0.1:3000"]);
    let answers = Answers::well();
    for (uri, has_key) in [
        ("https://api.example.com/orders", true),
        ("https://API.EXAMPLE.COM:443/", true),
        ("https://api.example.com:8443/", true),
        ("http://127.0.0.1:3000/", true),
        ("https://api.example.com:8444/", false),
        ("http://api.example.com/", false),
        ("http://api.example.com:443/", false),
        ("https://127.0.0.1:3000/", false),
        ("http://127.0.0.1:3001/", false),
        ("http://localhost:3000/", false),
        ("https://example.com/", false),
        ("https://api.example.com.evil.example/", false),
        ("https://api.example.com./", false),
        ("https://api.example.com@evil.example/", false),
        ("https://evil.example@api.example.com/", false),
        ("https://evil.example/https://api.example.com", false),
        ("/orders", false),
        ("api.example.com:443", false),
    ] {
        for layer in [layer.clone(), layer.clone().with_bearer()] {
            assert_eq!(send(&layer, &answers, get(uri)).await.status(), 200);
            let seen = answers.seen_once();
            assert_eq!(seen.headers.len(), usize::from(has_key), "{uri} {:?}", seen.headers);
        }
    }
}

/// A server that hosts others goes by `Host`, whatever it is connected by.
#[tokio::test]
async fn a_host_field_that_names_another_is_another() {
    let answers = Answers::well();
    for (host, has_key) in
        [("api.example.com", true), ("API.example.com:443", true), ("evil.example", false)]
    {
        let mut request = get(ORIGIN);
        request.headers_mut().insert(HOST, host.parse().unwrap());
        send(&layer(&[ORIGIN]), &answers, request).await;
        assert_eq!(answers.seen_once().headers.contains_key(X_API_KEY), has_key, "{host}");
    }
}

/// Else a client that hands requests on would let others choose the credential.
#[tokio::test]
async fn the_key_takes_the_place_of_whatever_was_there() {
    let answers = Answers::well();
    let mut request = get(ORIGIN);
    for value in ["one", "two"] {
        request.headers_mut().append(X_API_KEY, value.parse().unwrap());
        request.headers_mut().append(AUTHORIZATION, value.parse().unwrap());
    }
    send(&layer(&[ORIGIN]), &answers, request.clone()).await;
    let seen = answers.seen_once();
    assert_eq!(seen.all(&X_API_KEY), [KEY]);
    assert_eq!(seen.all(&AUTHORIZATION), ["one", "two"], "another header");

    send(&layer(&[ORIGIN]).with_bearer(), &answers, request).await;
    let seen = answers.seen_once();
    assert_eq!(seen.all(&AUTHORIZATION), [format!("Bearer {KEY}")]);
    assert_eq!(seen.all(&X_API_KEY), ["one", "two"]);
}

/// A proxy removes the headers that `Connection` names: others could choose it where a client hands
/// their requests on.
#[tokio::test]
async fn no_proxy_is_told_to_take_the_key_out() {
    let answers = Answers::well();
    for (layer, name) in
        [(layer(&[ORIGIN]), "X-API-Key"), (layer(&[ORIGIN]).with_bearer(), "authorization")]
    {
        for (values, left) in [
            (&["NAME"][..], &[][..]),
            (&["close, NAME"], &["close"]),
            (&["NAME ,upgrade"], &["upgrade"]),
            (&["close", "NAME,\tNAME", "a, NAME, b"], &["close", "a, b"]),
            (&["NAME-2, x"], &["NAME-2, x"]),
            (&["keep-alive,  te"], &["keep-alive,  te"]),
        ] {
            let with_name = |value: &&str| value.replace("NAME", name);
            let mut request = get(ORIGIN);
            for value in values.iter().map(with_name) {
                request.headers_mut().append(CONNECTION, value.parse().unwrap());
            }
            send(&layer, &answers, request).await;
            let left: Vec<_> = left.iter().map(with_name).collect();
            assert_eq!(answers.seen_once().all(&CONNECTION), left, "{values:?}");
        }
    }
}

#[tokio::test]
async fn elsewhere_the_key_is_taken_out_and_nothing_else() {
    let answers = Answers::well();
    let bearer = format!("bearer {KEY}");
    for (layer, name) in
        [(layer(&[ORIGIN]), X_API_KEY), (layer(&[ORIGIN]).with_bearer(), AUTHORIZATION)]
    {
        for (values, left) in [
            (&[KEY][..], &[][..]),
            (&[&bearer], &[]),
            (&[KEY, &bearer, KEY], &[]),
            (&["one", KEY, "two"], &["one", "two"]),
            (&[OTHER_KEY], &[OTHER_KEY]),
            (&["Basic YTpi"], &["Basic YTpi"]),
        ] {
            for uri in ["https://evil.example/", "/orders", "http://api.example.com"] {
                let mut request = get(uri);
                for value in values {
                    request.headers_mut().append(&name, value.parse().unwrap());
                }
                request.headers_mut().insert("accept", "text/plain".parse().unwrap());
                send(&layer, &answers, request).await;
                let seen = answers.seen_once();
                assert_eq!(seen.all(&name), left, "{values:?} {uri}");
                assert!(seen.headers.contains_key("accept"));
            }
        }
    }
}

#[tokio::test]
async fn each_of_two_layers_is_for_its_own_origin() {
    let answers = Answers::well();
    let other = ClientKey::new(&SecretKey::new(OTHER_KEY)).unwrap();
    let other = AttachApiKeyLayer::new(other, ["https://other.example"]).unwrap();
    let client =
        ServiceBuilder::new().layer(layer(&[ORIGIN])).layer(other).service(answers.clone());
    for (uri, keys) in [
        (ORIGIN, &[KEY][..]),
        ("https://other.example", &[OTHER_KEY]),
        ("https://third.example", &[]),
    ] {
        client.clone().oneshot(get(uri)).await.unwrap();
        assert_eq!(answers.seen_once().all(&X_API_KEY), keys, "{uri}");
    }
}

#[tokio::test]
async fn plaintext_leaves_this_host_where_it_was_allowed() {
    let answers = Answers::well();
    let layer = AttachApiKeyLayer::insecure(key(), ["http://orders.internal:8080"]).unwrap();
    send(&layer, &answers, get("http://orders.internal:8080/")).await;
    assert_eq!(answers.seen_once().all(&X_API_KEY), [KEY]);
    send(&layer, &answers, get("http://orders.internal/")).await;
    assert!(answers.seen_once().headers.is_empty());
}
