//! `examples/quickstart.rs`.

use crate::{
    example, key_in, paste, printed,
    process::{Server, curl},
};

#[test]
fn the_printed_line_works() {
    let server = Server::start(&mut example("quickstart"));
    let line = printed(&server, "/whoami");
    assert_eq!(paste(&line).trim_end(), "You are the first caller.");
}

#[test]
fn a_bearer_token_is_as_good() {
    let server = Server::start(&mut example("quickstart"));
    let line = printed(&server, "/whoami");
    let bearer = format!("Authorization: Bearer {}", key_in(&line));
    let reply = curl(["-H", &bearer, &server.url("/whoami")]);
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn others_are_refused() {
    let server = Server::start(&mut example("quickstart"));
    let url = server.url("/whoami");

    let reply = curl([&url]);
    assert_eq!((reply.status, reply.json()["code"].as_str()), (401, Some("missing_key")));
    assert!(reply.header("www-authenticate").is_some(), "{reply:?}");

    let line = printed(&server, "/whoami");
    let typo = key_in(&line).to_uppercase();
    let reply = curl(["-H", &format!("X-API-Key: {typo}"), &url]);
    assert_eq!((reply.status, reply.json()["code"].as_str()), (401, Some("malformed_key")));
}
