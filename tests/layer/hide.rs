//! Hiding credentials: the matched one goes, and every other byte stays as it was sent.

use http::Request;
use proptest::{collection::vec, prelude::*};
use tower_api_key::{ApiKeyLayer, KeySource, Precedence};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, get, record, request, request_to, send},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_sources([
            KeySource::x_api_key(),
            KeySource::bearer(),
            KeySource::query("api_key").unwrap(),
            KeySource::cookie("api_key").unwrap(),
        ])
        .hide_credentials()
}

/// The values of `name` that the inner service sees.
fn left(name: &str, request: Request<()>) -> Vec<Vec<u8>> {
    let answer = send(&layer(), request);
    assert_eq!(answer.outcome(), "admitted");
    let values = answer.seen().headers.get_all(name).iter();
    values.map(|value| value.as_bytes().to_vec()).collect()
}

#[test]
fn a_header_goes_and_the_others_stay() {
    let sent = [("accept", "a"), ("x-api-key", KEY), ("x-other", "1"), ("x-other", "2")];
    let answer = send(&layer(), request(&sent));
    let mut seen: Vec<_> = answer.seen().headers.iter().collect();
    seen.sort_by_key(|(name, _)| name.as_str());
    let seen: Vec<_> = seen.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(seen, [("accept", "a"), ("x-other", "1"), ("x-other", "2")]);
}

#[test]
fn only_the_matched_authorization_goes() {
    let ours = format!("bearer  {KEY}");
    for sent in [
        vec![&*ours, "Basic a", "Digest b"],
        vec!["Basic a", &ours, "Digest b"],
        vec!["Basic a", "Digest b", &ours],
    ] {
        let headers: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
        assert_eq!(left("authorization", request(&headers)), [b"Basic a", &b"Digest b"[..]]);
    }
    assert!(left("authorization", request(&[("authorization", &ours)])).is_empty());
}

#[test]
fn a_cookie_goes_with_one_separator() {
    let key = format!("api_key={KEY}");
    let quoted = format!("api_key=\"{KEY}\"");
    for (sent, expected) in [
        (format!("{key}; a=1; b=2"), "a=1; b=2"),
        (format!("a=1; {key}; b=2"), "a=1; b=2"),
        (format!("a=1; b=2; {key}"), "a=1; b=2"),
        (format!("a=1;{key};b=2"), "a=1;b=2"),
        (format!("a=1; {quoted}; b=2"), "a=1; b=2"),
        (format!("a=1; api_key = {KEY} ; b=2"), "a=1; b=2"),
        // Whatever stands beside it stays, sensible or not.
        (format!("a=\"x,y\";; {key}; =; c"), "a=\"x,y\";; =; c"),
        (format!("a=1; {key};"), "a=1;"),
    ] {
        let seen = left("cookie", request(&[("cookie", &sent)]));
        assert_eq!(seen, [expected.as_bytes()], "{sent}");
    }
}

#[test]
fn a_cookie_header_that_held_nothing_else_goes_as_well() {
    let key = format!("api_key={KEY}");
    assert!(left("cookie", request(&[("cookie", &key)])).is_empty());
    for sent in [["a=1", &*key, "b=2"], [&*key, "a=1", "b=2"], ["a=1", "b=2", &*key]] {
        let headers = sent.map(|line| ("cookie", line));
        assert_eq!(left("cookie", request(&headers)), [b"a=1", b"b=2"], "{sent:?}");
    }
    let headers = [("cookie", "a=1".to_owned()), ("cookie", format!("b=2; {key}; c=3"))];
    assert_eq!(left("cookie", request(&headers)), [&b"a=1"[..], b"b=2; c=3"]);
}

#[test]
fn bytes_outside_ascii_stay_in_cookies() {
    let sent = [b"a=\xff\x80; api_key=", KEY.as_bytes(), b"; b=\xc3\xa9"].concat();
    assert_eq!(left("cookie", request(&[("cookie", &sent)])), [b"a=\xff\x80; b=\xc3\xa9"]);
}

#[test]
fn a_query_pair_goes_with_one_separator() {
    let key = format!("api_key={KEY}");
    for (sent, expected) in [
        (format!("/p?{key}"), "/p"),
        (format!("/p?{key}&a=1"), "/p?a=1"),
        (format!("/p?a=1&{key}"), "/p?a=1"),
        (format!("/p?a=1&{key}&b=2"), "/p?a=1&b=2"),
        (format!("/p?&{key}"), "/p?"),
        (format!("/p?{key}&"), "/p?"),
        (format!("/p?&&{key}&&"), "/p?&&&"),
        (format!("/p?%20=%zz&{key}&?x?&="), "/p?%20=%zz&?x?&="),
        (format!("/a%2Fb//?x&{key}"), "/a%2Fb//?x"),
        (format!("/p?a=1&api%5Fkey={KEY}&b=2"), "/p?a=1&b=2"),
        (format!("/?{key}"), "/"),
        (format!("http://user@api.test:8080/p;v=1?a&{key}"), "http://user@api.test:8080/p;v=1?a"),
    ] {
        let answer = send(&layer(), get(&sent));
        assert_eq!(answer.seen().uri.to_string(), expected, "{sent}");
    }
}

#[test]
fn scheme_authority_and_path_stay() {
    let sent = get(&format!("https://api.test:8443/a/b?x=1&api_key={KEY}"));
    let before = sent.uri().clone();
    let answer = send(&layer(), sent);
    let after = &answer.seen().uri;
    assert_eq!(after.scheme(), before.scheme());
    assert_eq!(after.authority(), before.authority());
    assert_eq!(after.path(), before.path());
    assert_eq!(after.query(), Some("x=1"));
}

/// The first source decides alone, but the others would find the same key.
#[test]
fn the_judged_key_goes_from_every_source() {
    let layer = layer().with_precedence(Precedence::FirstSource);
    let cookie = format!("a=1; api_key={KEY}; api_key={OTHER_KEY}");
    let headers = [
        ("x-api-key", KEY.to_owned()),
        ("cookie", cookie),
        ("authorization", format!("Bearer {KEY}")),
        ("x-other", KEY.to_owned()),
    ];
    let sent = request_to(&format!("/?api_key={KEY}&b=2&api%5Fkey={KEY}"), &headers);
    let answer = send(&layer, sent);
    assert_eq!(answer.outcome(), "admitted");
    let seen = answer.seen();
    assert!(!seen.headers.contains_key("x-api-key"));
    assert!(!seen.headers.contains_key("authorization"));
    assert_eq!(seen.uri.query(), Some("b=2"));
    // Opaque, and not judged: it may be anything.
    assert_eq!(seen.headers["cookie"], format!("a=1; api_key={OTHER_KEY}"));
    assert_eq!(seen.headers["x-other"], KEY, "no source looks there");
}

#[test]
fn the_credential_is_hidden_behind_many_others() {
    const OTHERS: usize = 1_000;
    let (bearer, cookie) = (format!("Bearer {KEY}"), format!("api_key={KEY}"));
    for (name, other, ours) in [("authorization", "Basic x", bearer), ("cookie", "a=1", cookie)] {
        let mut headers = vec![(name, other); OTHERS];
        headers.push((name, &ours));
        let seen = left(name, request(&headers));
        assert_eq!(seen.len(), OTHERS, "{name}");
        assert!(seen.iter().all(|value| value == other.as_bytes()), "{name}");
    }
    let long = "a".repeat(70_000);
    let seen = left("cookie", request(&[("cookie", format!("{long}; api_key={KEY}; b=2"))]));
    assert_eq!(seen, [format!("{long}; b=2").as_bytes()]);
}

#[test]
fn nothing_is_hidden_by_default_but_marked_sensitive() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::cookie("api_key").unwrap(),
    ]);
    let (bearer, cookie) = (format!("Bearer {KEY}"), format!("a=1; api_key={KEY}"));
    for (name, value) in [("x-api-key", KEY), ("authorization", &bearer), ("cookie", &cookie)] {
        let others = [("accept", "text/plain"), ("x-other", "1"), ("x-other", "2")];
        for count in [1, 3] {
            let headers = [&[(name, value)], &others[..count]].concat();
            let answer = send(&layer, request(&headers));
            for (seen, value) in &answer.seen().headers {
                assert_eq!(value.is_sensitive(), seen == name, "{seen} beside {name}");
            }
            assert_eq!(answer.seen().headers[name], value);
        }
    }
}

/// What stands in a query beside a key: no `&`, no `#`, and never another `api_key`.
fn neighbour() -> impl Strategy<Value = String> {
    "[!$-%'-;=?-Z_a-z~]{0,8}".prop_filter("another key", |pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !name.contains('%') && name != "api_key"
    })
}

fn cookie_neighbour() -> impl Strategy<Value = String> {
    "( [!-:<-~]([ -:<-~]{0,6}[!-:<-~])?)?".prop_filter("another key", |pair| {
        pair.split('=').next().is_none_or(|name| name.trim() != "api_key")
    })
}

proptest! {
    #[test]
    fn a_query_is_what_it_was_with_the_pair_cut_out(
        mut pairs in vec(neighbour(), 0..6),
        position in any::<prop::sample::Index>(),
    ) {
        let rest = pairs.join("&");
        let expected = if pairs.is_empty() { None } else { Some(&*rest) };
        pairs.insert(position.index(pairs.len() + 1), format!("api_key={KEY}"));
        let answer = send(&layer(), get(&format!("/p?{}", pairs.join("&"))));
        prop_assert_eq!(answer.seen().uri.path(), "/p");
        prop_assert_eq!(answer.seen().uri.query(), expected);
    }

    #[test]
    fn a_cookie_line_is_what_it_was_with_the_pair_cut_out(
        mut pairs in vec(cookie_neighbour(), 1..6),
        position in any::<prop::sample::Index>(),
    ) {
        // The space after a `;` belongs to what follows it, and a line starts without one.
        let expected = pairs.join(";").trim_start().to_owned();
        pairs.insert(position.index(pairs.len() + 1), format!(" api_key={KEY}"));
        let line = pairs.join(";").trim_start().to_owned();
        let seen = left("cookie", request(&[("cookie", &line)]));
        let seen: Vec<_> = seen.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
        prop_assert_eq!(seen, [&*expected]);
    }
}
