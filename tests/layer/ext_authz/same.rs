//! One decision: `ExtAuthz` and `ForwardAuth` say the same of the same request.

use proptest::{prelude::*, sample::select};
use tower_api_key::forward_auth::ForwardAuth;

use super::*;
use crate::{
    forward_auth::{
        self, FORWARDED, about,
        cases::{MANY_MEANINGS, ONE_MEANING, OTHER_MEANING},
    },
    support::OTHER_KEY,
};

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let names: Vec<_> = OTHER_MEANING.into_iter().map(|name| (name, "DELETE")).collect();
    let keys = [
        ("x-api-key", KEY),
        ("x-api-key", OTHER_KEY),
        ("x-api-key", ""),
        ("authorization", "Bearer another-key-0123456789"),
        ("authorization", "Basic YTpi"),
    ];
    let others = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("x-forwarded-proto", "http"),
        ("x-original-uri", "/profile"),
        ("cookie", "a=1"),
    ];
    let one = prop_oneof![
        4 => select(keys.to_vec()),
        1 => select(names),
        4 => select(others.to_vec()),
    ];
    proptest::collection::vec(one, 0..5)
}

fn targets() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => select(&ONE_MEANING[..]),
        4 => select(&["/profile", "/orders", "/profile/", "/Orders/7", "/orders/7?_method=PUT"][..]),
        1 => select(&MANY_MEANINGS[..]),
    ]
}

proptest! {
    #[test]
    fn both_say_the_same(
        method in select(&["GET", "HEAD", "POST", "PATCH", "get", "OPTIONS", "M-SEARCH", "A B"][..]),
        target in targets(),
        mut sent in headers(),
    ) {
        let layer = layer();
        // Both proxies replace these.
        sent.retain(|(name, _)| !FORWARDED.contains(name));
        let forward_auth = forward_auth::service(ForwardAuth::traefik, layer.clone());
        let expected = forward_auth::ask(&forward_auth, about(FORWARDED, method, target, &sent));
        let expected_code =
            if expected.status() == 200 { String::new() } else { crate::support::code(&expected) };
        let service = service(layer);
        for form in FORMS {
            let mut names: Vec<_> = sent.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            let is_repeated = names.windows(2).any(|two| two[0] == two[1]);
            let answer = ask(&service, &question(form, method, target, &sent));
            if form == Form::Joined && is_repeated {
                // Nothing tells several values from one. No two let in what one would not.
                prop_assert!(expected.status() != 200 || answer.status == 200);
                let keys = sent.iter().filter(|(name, _)| *name == "x-api-key").count();
                prop_assert!(keys < 2 || answer.status != 200);
                continue;
            }
            prop_assert_eq!(&answer.code(), &expected_code, "{:?}", form);
            prop_assert_eq!(answer.status, i32::from(expected.status().as_u16()));
            for (name, value) in expected.headers() {
                // The identity is for the service, and all else for the client.
                let is_identity = name.as_str().starts_with("x-api-key-");
                if is_identity != (answer.status == 200) || name == "content-length" {
                    continue;
                }
                let values: Vec<_> = expected.headers().get_all(name).iter().collect();
                prop_assert_eq!(answer.values(name.as_str()), values, "{}: {:?}", name, value);
            }
            prop_assert_eq!(answer.body.as_bytes(), &expected.body()[..]);
        }
    }
}
