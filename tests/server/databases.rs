//! Every database that `DATABASE_URL` can name, and several servers on one.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    process::{Server, run},
    servers::{Database, Server as Kind},
    start::{assert_tour, commands, sh, started},
    support::{ADMIN_KEY, Ask, command, directory},
};

/// A database that is emptied when the test ends.
pub(crate) enum Empty {
    Sql(Database),
    Redis(String),
}

impl Empty {
    /// `None` when the tests of this server are left out.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
        if kind == Kind::Redis {
            let url = kind.url()?;
            // The last of the sixteen databases that a server has by default.
            let empty = Self::Redis(format!("{}/15", url.trim_end_matches('/')));
            empty.flush();
            return Some(empty);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Database::new(kind)).map(Self::Sql)
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Sql(database) => database.url(),
            Self::Redis(url) => url,
        }
    }

    fn flush(&self) {
        let Self::Redis(url) = self else { return };
        let host = url.trim_start_matches("redis://").trim_end_matches("/15");
        let mut redis = TcpStream::connect(host).unwrap_or_else(|error| Kind::Redis.missing(error));
        redis.write_all(b"SELECT 15\r\nFLUSHDB\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        redis.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "+OK\r\n+OK\r\n+OK\r\n");
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A server on this database that caches for an hour.
pub(crate) fn node(url: &str, redis: Option<&str>) -> Server {
    let mut command = command();
    command.env("ADDR", "127.0.0.1:0").env("DATABASE_URL", url).env("ADMIN_API_KEY", ADMIN_KEY);
    command.env("CACHE_TTL", "3600");
    if let Some(redis) = redis {
        command.env("REDIS_URL", redis);
    }
    Server::start(&mut command)
}

fn the_tour_works_on(kind: Kind) {
    let Some(database) = Empty::new(kind) else { return };
    let (server, banner) =
        started(command().env("ADDR", "127.0.0.1:0").env("DATABASE_URL", database.url()));
    server.wait_for_stderr("keys are cached for 30 s");
    assert_tour(&run(&mut sh(&commands(&banner))));
}

/// A key that both nodes have cached for an hour is revoked on one, and refused by the other.
fn a_revoked_key_is_refused_on_every_node(kind: Kind, redis: Option<&str>) {
    let Some(database) = Empty::new(kind) else { return };
    let (a, b) = (node(database.url(), redis), node(database.url(), redis));
    for node in [&a, &b] {
        node.wait_for_stderr("listening for changed keys");
    }
    assert_revoked_everywhere(&a, &b);
}

/// Revokes a key at one node that both have cached.
pub(crate) fn assert_revoked_everywhere(a: &Server, b: &Server) {
    let created = a.create(&json!({ "name": "everywhere" }));
    for node in [a, b] {
        assert_eq!(node.ask_as(&created.key, "GET", "/articles").status, 200);
    }
    let path = format!("/admin/api-keys/{}/revoke", created.id);
    assert_eq!(a.admin("POST", &path).status, 200);
    assert_eq!(a.ask_as(&created.key, "GET", "/articles").status, 401);
    // Far less than the hour that it is cached for.
    let deadline = Instant::now() + Duration::from_mins(1);
    while b.ask_as(&created.key, "GET", "/articles").status == 200 {
        assert!(Instant::now() < deadline, "the other node never heard of it");
    }
    let refused = b.ask_as(&created.key, "GET", "/articles");
    assert_eq!(refused.json()["code"], "revoked_key");
}

#[test]
fn the_tour_works_on_postgres() {
    the_tour_works_on(Kind::Postgres);
}

#[test]
fn the_tour_works_on_mysql() {
    the_tour_works_on(Kind::MySql);
}

#[test]
fn redis_keeps_keys_and_announces_changes() {
    the_tour_works_on(Kind::Redis);
    a_revoked_key_is_refused_on_every_node(Kind::Redis, None);
}

/// Two processes on one file have no bus, and notice all the same.
#[test]
fn sqlite_notices_changes() {
    let directory = directory();
    let url = format!("sqlite://{}", directory.path().join("keys.db").display());
    let (a, b) = (node(&url, None), node(&url, None));
    assert_revoked_everywhere(&a, &b);
}

#[test]
fn postgres_announces_changes() {
    a_revoked_key_is_refused_on_every_node(Kind::Postgres, None);
}

#[test]
fn redis_announces_the_changes_of_mysql() {
    let Some(redis) = Kind::Redis.url() else { return };
    a_revoked_key_is_refused_on_every_node(Kind::MySql, Some(&redis));
}
