//! Rotation, repeated requests and the audit log, on a server that keeps its keys in memory.

use std::{collections::BTreeSet, thread};

use serde_json::{Value, json};

use crate::{
    process::Server,
    support::{ADMIN_KEY, Ask, assert_problem, command},
};

fn server() -> Server {
    let mut command = command();
    command
        .env("ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", "memory:")
        .env("ADMIN_API_KEY", ADMIN_KEY);
    Server::start(&mut command)
}

#[test]
fn a_rotated_key_is_replaced_by_another() {
    let server = server();
    let old = server.create(&json!({ "name": "rotated", "scopes": ["inventory:write"] }));
    let path = format!("/admin/api-keys/{}", old.id);
    let body = r#"{"grace_seconds":3600}"#;
    let reply = server.admin_sends("POST", &format!("{path}/rotate"), body, &[]);
    assert_eq!(reply.status, 201, "{reply:?}");
    let new = reply.json();
    let location = format!("/admin/api-keys/{}", new["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(&*location));
    assert_eq!(server.admin("GET", &location).json()["replaces"], old.id);
    assert_eq!(server.admin("GET", &path).json()["rotated_to"], new["id"]);

    // Both work for now, and the old one says that it will not for long.
    let new_key = new["key"].as_str().unwrap();
    assert_eq!(server.ask_as(new_key, "POST", "/webhook/inventory").status, 200);
    let reply = server.ask_as(&old.key, "POST", "/webhook/inventory");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.header("sunset").is_some(), "{reply:?}");

    let again = server.admin("POST", &format!("{path}/rotate"));
    assert_problem(&again, 409, "already_rotated");
    assert_eq!(again.json()["rotated_to"], new["id"]);

    // Without a grace, which is what a leaked key calls for.
    let reply = server.admin("POST", &format!("{location}/rotate"));
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_problem(&server.ask_as(new_key, "GET", "/articles"), 401, "expired_key");
}

#[test]
fn of_32_creations_with_one_idempotency_key_one_makes_a_key() {
    let server = server();
    let create = || {
        let again = ["-H", "Idempotency-Key: 7c0b6e4e"];
        server.admin_sends("POST", "/admin/api-keys", r#"{"name":"once"}"#, &again)
    };
    let replies: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (created, refused): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.status == 201);
    assert_eq!(created.len(), 1);
    let id = created[0].json()["id"].clone();
    for reply in refused {
        assert_problem(reply, 409, "already_created");
        assert_eq!(reply.json()["key"], id);
    }
    assert_eq!(server.admin("GET", "/admin/api-keys").json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn the_audit_log_says_who_did_what() {
    let server = server();
    let created = server.create(&json!({ "name": "logged", "owner": "user-1" }));
    let path = format!("/admin/api-keys/{}", created.id);
    server.change(&created, &json!({ "name": "renamed" }));
    let revoked = server.ask_as(&created.key, "POST", "/me/key/revoke");
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(server.admin("DELETE", &path).status, 204);

    let log = server.admin("GET", &format!("{path}/events"));
    assert_eq!(log.header("cache-control"), Some("no-store"), "{log:?}");
    let log = log.json();
    let events = log["items"].as_array().unwrap();
    let actions: BTreeSet<_> =
        events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, BTreeSet::from(["created", "updated", "revoked", "deleted"]));
    for event in events {
        let actor = event["actor"].as_str().unwrap();
        if event["action"] == "revoked" {
            assert_eq!(actor, format!("key {} (renamed)", created.id));
        } else {
            assert!(actor.ends_with("(ADMIN_API_KEY)"), "{actor}");
        }
        assert_eq!(event["address"], "127.0.0.1");
    }
    assert_eq!(log["next_cursor"], Value::Null);
    let all = server.admin("GET", "/admin/api-keys/events?owner=user-1").json();
    assert_eq!(all["items"], log["items"]);
}
