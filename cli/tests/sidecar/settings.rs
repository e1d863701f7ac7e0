//! Settings that change what a check answers.

use crate::{
    guide,
    process::Server,
    servers,
    started::{Place, ask, check, code},
};

#[test]
fn an_argument_is_stronger_than_the_environment_and_that_than_the_file() {
    let place = Place::on_sqlite();
    place.add("addr = \"127.0.0.2:0\"\nstore.url = \"sqlite:absent.db\"");
    let ip = |command: &mut std::process::Command| Server::start(command).address().ip();
    assert_eq!(ip(place.serve().env_remove("ADDR")).to_string(), "127.0.0.2");
    assert_eq!(ip(place.serve().env("ADDR", "127.0.0.3:0")).to_string(), "127.0.0.3");
    let both = ip(place.serve().env("ADDR", "127.0.0.3:0").args(["--addr", "127.0.0.4:0"]));
    assert_eq!(both.to_string(), "127.0.0.4");
    // And the whole store may be in the file.
    place.add(&format!("store.url = \"{}\"", place.url));
    Server::start(place.serve().env_remove("DATABASE_URL"));
}

#[test]
fn names_of_headers_and_the_path_are_settings() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read", "--owner", "user-1"]);
    let settings = "path = \"/internal/check\"\nkey_headers = [\"X-Token\", \"Authorization: Token\"]\n\
                    identity_headers = { owner = \"X-Tenant\" }\n";
    place.configure(
        &guide::block("toml").replace(
            "[[rule]]\npath = \"/orders",
            &format!("{settings}[[rule]]\npath = \"/orders"),
        ),
    );
    let sidecar = place.start();
    let to = sidecar.address();
    assert_eq!(check(to, "/orders/7", &[]).status, 404, "the default path is gone");
    let told = [
        "X-Original-Method: GET",
        "X-Original-Proto: http",
        "X-Original-Host: api.example",
        "X-Original-URI: /orders/7",
    ];
    let asked =
        |header: &str| ask(to, "GET /internal/check HTTP/1.1", &[&told[..], &[header]].concat());
    for header in [format!("X-Token: {key}"), format!("Authorization: Token {key}")] {
        let reply = asked(&header);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("x-tenant"), Some("user-1"), "{reply:?}");
        assert_eq!(reply.header("x-api-key-owner"), None, "{reply:?}");
    }
    assert_eq!(asked(&format!("X-API-Key: {key}")).status, 401);
}

#[test]
fn limits_credits_and_networks_are_kept() {
    let place = Place::on_sqlite();
    place.add("limits.tiers.basic = [\"hour=1/1h\"]\nlimits.failures_per_minute = 2");
    let limited = place.key(&["--scope", "orders:read", "--tier", "basic"]);
    let paid = place.key(&["--scope", "orders:read", "--credits", "1"]);
    let local = place.key(&["--scope", "orders:read", "--allow", "192.0.2.0/24"]);
    let sidecar = place.start();
    let asked = |key: &str, client: &str| {
        let headers = [format!("X-API-Key: {key}"), format!("X-Forwarded-For: {client}")];
        let reply = check(sidecar.address(), "/orders/7", &[&headers[0], &headers[1]]);
        let status = reply.header("x-api-key-status").unwrap().to_owned();
        (status, if reply.status == 200 { String::new() } else { code(&reply) })
    };
    let (good, none) = ("200".to_owned(), String::new());
    assert_eq!(asked(&limited, "192.0.2.1"), (good.clone(), none.clone()));
    assert_eq!(asked(&limited, "192.0.2.1"), ("429".to_owned(), "rate_limited".to_owned()));
    assert_eq!(asked(&paid, "192.0.2.1"), (good.clone(), none.clone()));
    assert_eq!(asked(&paid, "192.0.2.1").0, "429");
    assert_eq!(asked(&local, "192.0.2.1"), (good, none));
    assert_eq!(asked(&local, "198.51.100.1").0, "403");
    let mut guesses = (0..4).map(|_| asked("key_wrong", "203.0.113.1").0);
    assert_eq!(guesses.next().unwrap(), "401");
    assert!(guesses.any(|status| status == "429"), "guesses are not throttled");
}

/// A use that is still in memory is written at the end.
#[test]
fn uses_are_written_at_the_end() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    let header = format!("X-API-Key: {key}");
    assert_eq!(check(sidecar.address(), "/orders/7", &[&header]).status, 200);
    sidecar.signal("INT");
    let finished = sidecar.wait();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    let listed = place.command("list").arg("--json").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("\"use_count\":1"), "{listed}");
}

/// Two sidecars with a Redis in common count together.
#[test]
fn a_redis_counts_for_all() {
    let Some(redis) = servers::Server::Redis.url() else { return };
    let place = Place::on_sqlite();
    place.add("limits.tiers.basic = [\"hour=1/1h\"]");
    let limited = place.key(&["--scope", "orders:read", "--tier", "basic"]);
    let header = format!("X-API-Key: {limited}");
    let status = |sidecar: &Server| {
        let reply = check(sidecar.address(), "/orders/7", &[&header]);
        reply.header("x-api-key-status").unwrap().to_owned()
    };
    let [one, other] = [(); 2].map(|()| Server::start(place.serve().env("REDIS_URL", &redis)));
    assert_eq!(status(&one), "200");
    assert_eq!(status(&other), "429");
}
