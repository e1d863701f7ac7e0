//! Keys that make too many requests, have no credits left, or are guessed.

use std::time::Instant;

use serde_json::json;

use crate::{
    process::{Reply, Server},
    support::{Ask, assert_problem, command_on, directory, shared, unknown_key},
};

fn articles(server: &impl Ask, key: &str) -> Reply {
    server.ask_as(key, "GET", "/articles")
}

/// What comes back meanwhile may be used as well, and not one request more.
#[test]
fn a_basic_key_makes_a_hundred_requests_a_minute() {
    let server = shared();
    let created = server.create(&json!({ "name": "basic", "tier": "basic" }));
    let start = Instant::now();
    let replies: Vec<Reply> = (0..110).map(|_| articles(&*server, &created.key)).collect();
    // One every 0.6 seconds, and a tick of the clock.
    let back = usize::try_from(start.elapsed().as_millis() / 600).unwrap() + 1;
    let (admitted, denied): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.status == 200);
    assert!(admitted.len() >= 100, "{}", admitted.len());
    assert!(admitted.len() <= 100 + back, "{} and {back} came back", admitted.len());
    assert_eq!(admitted[0].header("ratelimit-policy"), Some("\"minute\";q=100;w=60"));
    assert_eq!(admitted[0].header("ratelimit"), Some("\"minute\";r=99;t=1"));
    for reply in denied {
        assert_problem(reply, 429, "rate_limited");
        assert_eq!(reply.json()["limit"], "minute");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[test]
fn credits_are_spent_topped_up_and_outlive_the_server() {
    let directory = directory();
    let database = directory.path().join("keys.db");
    let server = Server::start(&mut command_on(&database));
    let created = server.create(&json!({ "name": "prepaid", "credits": 3 }));
    for left in ["2", "1", "0"] {
        let reply = articles(&server, &created.key);
        assert_eq!((reply.status, reply.header("credits-remaining")), (200, Some(left)));
    }
    let denied = articles(&server, &created.key);
    assert_problem(&denied, 429, "credits_exhausted");
    assert_eq!(denied.json()["credits_remaining"], 0);

    let path = format!("/admin/api-keys/{}", created.id);
    let topped_up = server.admin_sends("POST", &format!("{path}/credits"), r#"{"add":1000}"#, &[]);
    assert_eq!(topped_up.json()["credits"]["remaining"], 1_000);
    for _ in 0..3 {
        assert_eq!(articles(&server, &created.key).status, 200);
    }
    assert_eq!(server.admin("GET", &path).json()["credits"]["remaining"], 997);
    // What was counted a moment ago is told.
    let usage = server.admin("GET", &format!("{path}/usage")).json();
    assert_eq!(usage["total"], json!({ "accepted": 6, "credits_exhausted": 1 }));

    server.signal("TERM");
    assert_eq!(server.wait().status.code(), Some(0));
    let server = Server::start(&mut command_on(&database));
    assert_eq!(server.admin("GET", &path).json()["credits"]["remaining"], 997);
    let usage = server.admin("GET", &format!("{path}/usage")).json();
    assert_eq!(usage["total"], json!({ "accepted": 6, "credits_exhausted": 1 }));
    let set = server.change(&created, &json!({ "credits": 1 }));
    assert_eq!(set["credits"]["remaining"], 1);
    assert_eq!(articles(&server, &created.key).status, 200);
    assert_problem(&articles(&server, &created.key), 429, "credits_exhausted");
}

#[test]
fn who_guesses_keys_waits_where_that_is_wanted() {
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    let server = Server::start(command.env("FAILURES_PER_MINUTE", "8"));
    let created = server.create(&json!({ "name": "good" }));
    for _ in 0..8 {
        assert_problem(&articles(&server, &unknown_key()), 401, "unknown_key");
    }
    let denied = articles(&server, &created.key);
    assert_problem(&denied, 429, "too_many_failures");
    assert!(denied.header("retry-after").is_some());
    // Nor does anybody guess the administrator's key meanwhile.
    let admin = server.admin("GET", "/admin/api-keys");
    assert_problem(&admin, 429, "too_many_failures");
    assert_eq!(server.ask("GET", "/health", &[]).status, 200);
}
