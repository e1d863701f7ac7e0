//! `examples/hyper.rs`: one port, both protocols.

use crate::{
    example, paste, printed,
    process::{Reply, Server, curl},
};

#[test]
fn the_printed_lines_work_over_both_protocols() {
    let server = Server::start(&mut example("hyper"));

    let http1 = paste(&printed(&server, "--http1.1"));
    assert_eq!(http1.trim_end(), "Hello, the first caller, over HTTP/1.1.");

    let http2 = paste(&printed(&server, "--http2-prior-knowledge"));
    assert_eq!(http2.trim_end(), "Hello, the first caller, over HTTP/2.0.");
}

#[test]
fn others_are_refused_alike_over_both_protocols() {
    let server = Server::start(&mut example("hyper"));
    let url = server.url("/");
    let typo = "X-API-Key: key_00000000000000000000000000000000000000000000000000";

    for (header, code) in [("X-Other: 1", "missing_key"), (typo, "malformed_key")] {
        let http1 = curl(["--http1.1", "-H", header, &url]);
        let http2 = curl(["--http2-prior-knowledge", "-H", header, &url]);
        assert_eq!(code_of(&http1), (401, code.to_owned()));
        assert_eq!(code_of(&http2), (401, code.to_owned()));
        assert_eq!(undated(http1), undated(http2));
    }
}

/// What a browser sends before a request with a key from a page of another origin: the CORS layer
/// stands outside, so it is answered without a key, and a denial can be read.
#[test]
fn browsers_may_ask_from_any_origin() {
    let server = Server::start(&mut example("hyper"));
    let url = server.url("/");
    let origin = ["-H", "Origin: https://shop.example"];
    let asked = ["-H", "Access-Control-Request-Headers: x-api-key"];
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let preflight = ["-X", "OPTIONS", "-H", "Access-Control-Request-Method: GET"];
        let reply = curl([&[version][..], &preflight, &origin, &asked, &[&url]].concat());
        assert_eq!((reply.status, &*reply.body), (200, ""), "{reply:?}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert!(reply.header("access-control-allow-headers").unwrap().contains("x-api-key"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);

        let denied = curl([&[version][..], &origin, &[&url]].concat());
        assert_eq!(code_of(&denied), (401, "missing_key".to_owned()));
        assert_eq!(denied.header("access-control-allow-origin"), Some("*"));
        assert_eq!(denied.header("access-control-expose-headers"), Some("www-authenticate"));
    }
}

fn code_of(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["code"].as_str().unwrap().to_owned())
}

/// Everything but the time.
fn undated(mut reply: Reply) -> (Vec<(String, String)>, String) {
    reply.headers.retain(|(name, _)| name != "date");
    reply.headers.sort();
    (reply.headers, reply.body)
}
