//! Keys and tokens, alone and together, against the running program.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../../../tests/support/process.rs"]
mod process;

use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use process::{Reply, Server, curl};
use serde_json::{Value, json};

const SECRET: &str = "the secret of the tests, which nothing else knows";

fn start() -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-jsonwebtoken"));
    Server::start(command.env("ADDR", "127.0.0.1:0").env("JWT_SECRET", SECRET))
}

fn ask(server: &Server, headers: &[String]) -> Reply {
    let headers = headers.iter().flat_map(|header| ["-H", header]);
    curl(headers.chain([&*server.url("/whoami")]))
}

/// The credentials of the lines that the program printed.
fn printed(server: &Server) -> [String; 2] {
    ["X-API-Key: ", "Authorization: Bearer "].map(|start| {
        server
            .wait_for_stdout(|line| Some(line.split_once(start)?.1.split_once('\'')?.0.to_owned()))
    })
}

fn key(text: &str) -> String {
    format!("X-API-Key: {text}")
}

fn bearer(text: &str) -> String {
    format!("Authorization: Bearer {text}")
}

/// A good token's claims, with these in their place.
fn token(changes: &Value, algorithm: Algorithm, secret: &str) -> String {
    let mut claims = json!({
        "sub": "Grace",
        "iss": "https://accounts.example",
        "aud": "https://api.example",
        "exp": get_current_timestamp() + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
    encode(&Header::new(algorithm), &claims, &key).unwrap()
}

fn signed(changes: &Value) -> String {
    token(changes, Algorithm::HS256, SECRET)
}

#[test]
fn the_printed_lines_work() {
    let server = start();
    let [good_key, good_token] = printed(&server);
    for (header, body) in [
        (key(&good_key), "The program of the night.\n"),
        (bearer(&good_token), "The person Ada.\n"),
    ] {
        let reply = ask(&server, &[header]);
        assert_eq!((reply.status, &*reply.body), (200, body), "{reply:?}");
    }
}

#[test]
fn each_credential_is_judged_by_one_of_the_two() {
    let (server, other) = (start(), start());
    let ([good_key, _], [unknown, _]) = (printed(&server), printed(&other));
    let good_token = signed(&json!({}));
    let program = (200, "The program of the night.\n");
    let person = (200, "The person Grace.\n");
    let by_token = (401, "");
    for (headers, expected) in [
        (vec![key(&good_key)], program),
        (vec![bearer(&good_key)], program),
        (vec![bearer(&good_token)], person),
        // Begins as our keys do: the tokens' layer never sees it, and would have said nothing of a code.
        (vec![key(&unknown)], (401, "unknown_key")),
        (vec![bearer(&unknown)], (401, "unknown_key")),
        (vec![bearer(&format!("acme_{good_token}"))], (401, "malformed_key")),
        // Not ours.
        (vec![], by_token),
        (vec![bearer("")], by_token),
        (vec![bearer(&good_token[1..])], by_token),
        (vec![key(&good_token)], by_token),
        (vec!["Authorization: Basic QWRhOg==".to_owned()], by_token),
        (vec![bearer(&good_token), bearer(&good_token)], by_token),
        (vec![bearer(&signed(&json!({ "exp": get_current_timestamp() - 600 })))], by_token),
        (vec![bearer(&signed(&json!({ "nbf": get_current_timestamp() + 600 })))], by_token),
        (vec![bearer(&signed(&json!({ "nbf": get_current_timestamp() - 600 })))], person),
        (vec![bearer(&signed(&json!({ "aud": "https://other.example" })))], by_token),
        (vec![bearer(&signed(&json!({ "iss": "https://other.example" })))], by_token),
        (vec![bearer(&signed(&json!({ "sub": null })))], by_token),
        (vec![bearer(&token(&json!({}), Algorithm::HS256, "another secret"))], by_token),
        (vec![bearer(&token(&json!({}), Algorithm::HS512, SECRET))], by_token),
        (vec![bearer(&unsigned())], by_token),
        // Two identities on one request: none is chosen.
        (vec![key(&good_key), bearer(&good_token)], (400, "ambiguous_key")),
        (vec![bearer(&good_token), key(&good_key)], (400, "ambiguous_key")),
        (vec![bearer(&good_key), bearer(&good_token)], (400, "ambiguous_key")),
        (vec![key(&unknown), bearer(&good_token)], (400, "ambiguous_key")),
    ] {
        let reply = ask(&server, &headers);
        let code = if reply.header("content-type") == Some("application/problem+json") {
            reply.json()["code"].as_str().unwrap().to_owned()
        } else {
            reply.body.clone()
        };
        assert_eq!((reply.status, &*code), expected, "{headers:?}: {reply:?}");
    }
}

/// `alg: none`, with good claims.
fn unsigned() -> String {
    let good = signed(&json!({}));
    let claims = good.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

#[test]
fn every_401_asks_for_both() {
    let server = start();
    let of_keys = ["ApiKey realm=\"api\"", "Bearer realm=\"api\""];
    for (headers, of_tokens) in [
        (vec![], r#"Bearer realm="accounts""#),
        (vec![bearer("eyJ.e30.x")], r#"Bearer realm="accounts", error="invalid_token""#),
        (vec![key("acme_x")], r#"Bearer realm="accounts""#),
    ] {
        let reply = ask(&server, &headers);
        let asked: Vec<_> = reply.header_all("www-authenticate").collect();
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(asked.contains(&of_tokens), "{asked:?}");
        for start in of_keys {
            assert!(asked.iter().any(|challenge| challenge.starts_with(start)), "{asked:?}");
        }
        assert_eq!(asked.len(), 3, "{asked:?}");
    }
}

#[test]
fn it_does_not_start_without_a_secret_that_is_long_enough() {
    for secret in [None, Some(""), Some("a secret of too few bytes, 31 b"), Some(&SECRET[..31])] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_with-jsonwebtoken"));
        command.env("ADDR", "127.0.0.1:0").env_remove("JWT_SECRET");
        let finished = process::run(command.envs(secret.map(|secret| ("JWT_SECRET", secret))));
        assert!(!finished.status.success(), "{finished:?}");
        assert!(finished.stderr.contains("JWT_SECRET"), "{finished:?}");
        let tells = secret.is_some_and(|s| !s.is_empty() && finished.stderr.contains(s));
        assert!(!tells, "{finished:?}");
    }
}

/// Where others may reach it, no secret is in its output.
#[test]
fn it_prints_no_credentials_but_on_the_local_machine() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-jsonwebtoken"));
    let server = Server::start(command.env("ADDR", "0.0.0.0:0").env("JWT_SECRET", SECRET));
    let line = server.wait_for_stdout(|line| line.contains("/whoami").then(|| line.to_owned()));
    assert!(line.starts_with("listening at http://0.0.0.0:"), "{line}");
    assert!(!server.stdout().contains("acme_") && !server.stdout().contains("eyJ"));
}
