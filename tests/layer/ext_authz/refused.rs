//! Requests that are refused with a good key as well.

use super::*;
use crate::{
    envoy::envoy::config::core::v3::{HeaderMap, HeaderValue, Pipe, address},
    forward_auth::cases::{IDENTITY, MANY_MEANINGS, NO_VALUES, ONE_MEANING, OTHER_MEANING, RULES},
};

#[test]
fn only_peers_that_are_named_are_answered() {
    let service = service(layer());
    let message = question(Form::Raw, "GET", "/orders/7", &[good()]).encode_to_vec();
    for (peer, status) in [
        (Some("10.0.0.9"), 200),
        (Some("::ffff:10.255.0.1"), 200),
        (Some("11.0.0.1"), 403),
        (Some("127.0.0.1"), 403),
        (None, 403),
    ] {
        let mut call = call(&message);
        call.extensions_mut().clear();
        if let Some(peer) = peer {
            call.extensions_mut().insert(peer.parse::<IpAddr>().unwrap());
        }
        let answer = Answer::of(respond(&service, call).1.unwrap());
        assert_eq!(answer.status, status, "{peer:?}");
        assert_eq!(answer.code().is_empty(), status == 200);
    }
}

#[test]
fn the_tables_of_forward_auth_hold() {
    let service = service(layer());
    for form in FORMS {
        let asked = |method: &str, target: &str| question(form, method, target, &[good()]);
        for target in MANY_MEANINGS {
            assert!(is_refused(&service, &asked("GET", target)), "{target}");
        }
        for target in ONE_MEANING {
            assert!(!is_refused(&service, &asked("GET", target)), "{target}");
        }
        for (method, target, refused) in RULES {
            assert_eq!(is_refused(&service, &asked(method, target)), refused, "{method} {target}");
        }
        let deceptive = OTHER_MEANING.into_iter().map(|name| (name, true));
        for (name, refused) in deceptive.chain(IDENTITY.map(|name| (name, false))) {
            let sent = [good(), (name, "DELETE")];
            let asked = question(form, "GET", "/orders/7", &sent);
            assert_eq!(is_refused(&service, &asked), refused, "{name}");
        }
    }
}

#[test]
fn the_line_is_told_in_full() {
    let service = service(layer());
    for value in NO_VALUES {
        for field in 0..4 {
            let mut asked = question(Form::Joined, "GET", "/orders/7", &[good()]);
            let http = http(&mut asked);
            let name = [":method", ":scheme", ":authority", ":path"][field];
            let told = [&mut http.method, &mut http.scheme, &mut http.host, &mut http.path];
            for (number, told) in told.into_iter().enumerate() {
                if number == field {
                    value.clone_into(told);
                }
            }
            http.headers.insert(name.into(), value.into());
            assert!(is_refused(&service, &asked), "{name} {value:?}");
        }
    }
    for form in FORMS {
        let connect = question(form, "CONNECT", "/profile", &[good()]);
        assert!(is_refused(&service, &connect));
        let patch = question(form, "PATCH", "/profile", &[good()]);
        assert!(!is_refused(&service, &patch));
    }
}

#[test]
fn nothing_contradicts_the_line() {
    let service = service(layer());
    for form in FORMS {
        for (name, value, refused) in [
            (":method", "GET", true),
            (":path", "/profile", true),
            (":authority", "evil.example", true),
            (":scheme", "http", true),
            (":protocol", "websocket", true),
            (":status", "200", true),
            ("host", "evil.example", true),
            ("host", "api.example", false),
            ("host", "API.example", true),
        ] {
            let mut asked = question(form, "GET", "/orders/7", &[good()]);
            // In place of the one that Envoy writes.
            let http = http(&mut asked);
            if name == ":method" {
                http.method = "POST".into();
            }
            match &mut http.header_map {
                Some(map) => {
                    map.headers.retain(|header| header.key != name);
                    let raw_value = value.into();
                    map.headers.push(HeaderValue {
                        key: name.into(),
                        raw_value,
                        ..HeaderValue::default()
                    });
                }
                None => drop(http.headers.insert(name.into(), value.into())),
            }
            assert_eq!(is_refused(&service, &asked), refused, "{form:?} {name}: {value}");
        }
        for (options, refused) in [
            ("close", false),
            ("close, X-Api-Key-Id", true),
            ("x_api_key_owner", true),
            ("upgrade,x-api-key-scopes ,close", true),
        ] {
            let asked = question(form, "GET", "/orders/7", &[good(), ("connection", options)]);
            assert_eq!(is_refused(&service, &asked), refused, "{options}");
        }
    }
}

#[test]
fn headers_are_told_in_one_form() {
    let service = service(layer());
    let joined = question(Form::Joined, "GET", "/orders/7", &[good()]);
    let mut both = joined.clone();
    http(&mut both).header_map = Some(HeaderMap::default());
    assert!(is_refused(&service, &both), "both, one of them empty");
    let mut raw = question(Form::Raw, "GET", "/orders/7", &[good()]);
    http(&mut both).header_map = http(&mut raw).header_map.clone();
    assert!(is_refused(&service, &both), "both");
    let mut none = joined.clone();
    http(&mut none).headers.clear();
    assert!(is_refused(&service, &none), "none");

    // A value as a text, as bytes, and as both.
    for (text, bytes, refused) in [(KEY, "", false), ("", KEY, false), (KEY, KEY, true)] {
        let mut asked = question(Form::Raw, "GET", "/orders/7", &[]);
        let map = http(&mut asked).header_map.as_mut().unwrap();
        map.headers.push(HeaderValue {
            key: "x-api-key".into(),
            value: text.into(),
            raw_value: bytes.into(),
        });
        assert_eq!(is_refused(&service, &asked), refused);
    }
    // One name twice in the map, in two cases of letters.
    let mut cases = joined;
    http(&mut cases).headers.insert("X-Api-Key".into(), KEY.into());
    assert!(is_refused(&service, &cases));
}

#[test]
fn headers_that_are_none_of_http_are_refused() {
    let service = service(layer());
    for form in FORMS {
        for (name, value) in [
            ("", "a"),
            ("a b", "a"),
            ("a\r\nb", "a"),
            ("é", "a"),
            ("a:", "a"),
            ("a", "b\r\nc: d"),
            ("a", "\0"),
        ] {
            let asked = question(form, "GET", "/orders/7", &[good(), (name, value)]);
            assert!(is_refused(&service, &asked), "{name:?}: {value:?}");
        }
        let names: Vec<String> = (0..252).map(|number| format!("x-{number}")).collect();
        for (count, refused) in [(251, false), (252, true)] {
            let many = names[..count].iter().map(|name| (&**name, "a"));
            let sent: Vec<_> = many.chain([good()]).collect();
            // With the four of the line.
            let asked = question(form, "GET", "/orders/7", &sent);
            assert_eq!(is_refused(&service, &asked), refused, "{count}");
        }
    }
}

#[test]
fn an_address_is_one_or_absent() {
    let service = service(layer());
    for (told, refused) in [
        ("192.0.2.1", false),
        ("2001:db8::1", false),
        ("", true),
        ("client.example", true),
        ("192.0.2.1:80", true),
        ("192.0.2.1, 192.0.2.2", true),
    ] {
        let mut asked = question(Form::Raw, "GET", "/orders/7", &[good()]);
        let source = asked.attributes.as_mut().unwrap().source.as_mut().unwrap();
        let address = source.address.as_mut().unwrap().address.as_mut().unwrap();
        if let address::Address::SocketAddress(socket) = address {
            socket.address = told.into();
        }
        assert_eq!(is_refused(&service, &asked), refused, "{told}");
        let pipe = Pipe { path: told.into(), mode: 0 };
        let source = asked.attributes.as_mut().unwrap().source.as_mut().unwrap();
        source.address.as_mut().unwrap().address = Some(address::Address::Pipe(pipe));
        assert!(!is_refused(&service, &asked));
        asked.attributes.as_mut().unwrap().source = None;
        assert!(!is_refused(&service, &asked));
    }
}

#[test]
fn a_question_about_nothing_is_refused() {
    let service = service(layer());
    assert!(is_refused(&service, &CheckRequest::default()));
    let mut asked = question(Form::Raw, "GET", "/orders/7", &[good()]);
    asked.attributes.as_mut().unwrap().request.as_mut().unwrap().http = None;
    assert!(is_refused(&service, &asked));
    asked.attributes.as_mut().unwrap().request = None;
    assert!(is_refused(&service, &asked));
}
