//! Servers on a Redis of their own: several on a cluster, and one whose Redis stops.

#[path = "../store/redis/server.rs"]
#[allow(dead_code, reason = "not everything that is done to servers is done here")]
mod server;

use ::redis::{Client, Connection, FromRedisValue};
use serde_json::json;

use self::server::{OwnServer, free_port, start_node, wait_for};
use crate::{
    databases::{assert_revoked_everywhere, node},
    process::Server,
    support::{Ask, command_on, directory},
};

fn connect(url: &str) -> Connection {
    Client::open(url).unwrap().get_connection().unwrap()
}

fn run<T: FromRedisValue>(connection: &mut Connection, command: &[&str]) -> T {
    ::redis::cmd(command[0]).arg(&command[1..]).query(connection).unwrap()
}

#[test]
fn a_cluster_keeps_keys_announces_changes_and_counts_for_all() {
    let Some(redis) = start_node(&["0", "16383"]) else { return };
    wait_for(&[&redis], "1");
    // The first node need not be there.
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", free_port(), redis.port());
    let (a, b) = (node(&url, None), node(&url, None));
    for node in [&a, &b] {
        node.wait_for_stderr("rate limits are counted in redis+cluster://");
        node.wait_for_stderr("listening for changed keys");
    }
    assert_revoked_everywhere(&a, &b);

    let limits = json!([{ "name": "hour", "requests": 1, "window_seconds": 3600 }]);
    let key = a.create(&json!({ "name": "limited", "limits": limits })).key;
    assert_eq!(a.ask_as(&key, "GET", "/articles").status, 200);
    assert_eq!(b.ask_as(&key, "GET", "/articles").status, 429);
}

#[test]
fn the_log_says_which_of_its_back_ends_does_not_answer() {
    let Some(mut redis) = OwnServer::start(&[]) else { return };
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    let server = Server::start(command.env("REDIS_URL", redis.url()));
    server.wait_for_stderr("listening for changed keys");
    let limits = json!([{ "name": "hour", "requests": 1, "window_seconds": 3600 }]);
    let key = server.create(&json!({ "name": "limited", "limits": limits })).key;
    redis.kill();
    // The server counts for itself.
    assert_eq!(server.ask_as(&key, "GET", "/articles").status, 200);
    assert_eq!(server.ask_as(&key, "GET", "/articles").status, 429);
    for (news, back_end) in [
        ("the rate limiter does not answer", "cause=\"the rate limiter "),
        ("not listening for changed keys", "cause=\"the bus "),
    ] {
        server.wait_for_stderr(news);
        let log = server.stderr();
        let line = log.lines().find(|line| line.contains(news)).unwrap();
        assert!(line.contains(back_end) && !line.contains("key store"), "{line}");
    }
}
