//! Requests that are refused with a good key as well.

use super::{
    cases::{IDENTITY, MANY_MEANINGS, NO_VALUES, ONE_MEANING, OTHER_MEANING, RULES},
    *,
};
use crate::support::code;

fn is_refused(service: &ForwardAuth, request: Request<()>) -> bool {
    let response = ask(service, request);
    let is_refused = response.status() == 403 && code(&response) == "forward_auth_refused";
    assert_eq!(is_refused, response.status() != 200, "{response:?}");
    let id = &response.headers()["x-api-key-id"];
    assert_eq!(id.is_empty(), is_refused);
    is_refused
}

#[test]
fn only_peers_that_are_named_are_answered() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        let asked = || about(family, "GET", "/orders/7", &[good()]);
        for (peer, refused) in [
            ("10.0.0.9", false),
            ("::ffff:10.255.0.1", false),
            ("11.0.0.1", true),
            ("::1", true),
            ("127.0.0.1", true),
        ] {
            assert_eq!(is_refused(&service, from(peer, asked())), refused, "{peer}");
        }
        let mut of_no_peer = asked();
        of_no_peer.extensions_mut().clear();
        assert!(is_refused(&service, of_no_peer));
    }
}

#[test]
fn each_header_of_the_family_is_there_exactly_once() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        for name in family {
            let mut without = about(family, "GET", "/orders/7", &[good()]);
            without.headers_mut().remove(name);
            assert!(is_refused(&service, without), "no {name}");
            let mut twice = about(family, "GET", "/orders/7", &[good()]);
            let same = twice.headers()[name].clone();
            twice.headers_mut().append(http::HeaderName::try_from(name).unwrap(), same);
            assert!(is_refused(&service, twice), "{name} twice");
            for value in NO_VALUES {
                let mut other = about(family, "GET", "/orders/7", &[good()]);
                let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                *other.headers_mut().get_mut(name).unwrap() = value;
                assert!(is_refused(&service, other), "{name}");
            }
        }
    }
}

#[test]
fn the_family_of_another_proxy_is_never_read() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        let other = if family == ORIGINAL { FORWARDED } else { ORIGINAL };
        assert!(is_refused(&service, about(other, "GET", "/orders/7", &[good()])));
        // What a client says in it opens and closes nothing.
        let values = ["DELETE", "http", "evil.example", "/../admin"];
        let said: Vec<_> = other.into_iter().zip(values).chain([good()]).collect();
        assert!(!is_refused(&service, about(family, "GET", "/orders/7", &said)));
        let values = ["GET", "https", "api.example", "/orders/7"];
        let said: Vec<_> = other.into_iter().zip(values).chain([good()]).collect();
        assert!(is_refused(&service, about(family, "GET", "/admin", &said)));
    }
}

#[test]
fn a_target_that_servers_read_in_several_ways_is_refused() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        for target in MANY_MEANINGS {
            assert!(is_refused(&service, about(family, "GET", target, &[good()])), "{target}");
        }
        for target in ONE_MEANING {
            assert!(!is_refused(&service, about(family, "GET", target, &[good()])), "{target}");
        }
    }
}

#[test]
fn what_no_rule_names_is_refused() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        for (method, target, refused) in RULES {
            let asked = about(family, method, target, &[good()]);
            assert_eq!(is_refused(&service, asked), refused, "{method} {target}");
        }
    }
}

#[test]
fn a_header_that_gives_the_request_another_meaning_is_refused() {
    for (flavour, family) in FLAVOURS {
        let service = service(flavour, layer());
        for name in OTHER_MEANING.into_iter().chain(IDENTITY) {
            let asked = about(family, "GET", "/orders/7", &[good(), (name, "DELETE")]);
            assert!(is_refused(&service, asked), "{name}");
        }
        for name in IDENTITY {
            // What some proxies make of a header that they are told to take out.
            let asked = about(family, "GET", "/orders/7", &[good(), (name, "")]);
            assert!(!is_refused(&service, asked), "{name}");
            let asked = about(family, "GET", "/orders/7", &[good(), (name, ""), (name, "a")]);
            assert!(is_refused(&service, asked), "{name}");
        }
    }
}
