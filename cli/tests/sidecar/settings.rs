//! Settings that change what a check answers.

use std::process::Command;

use crate::{
    guide,
    process::{self, REPEATED_WITHIN, Server},
    servers,
    started::{Place, ask, check, code, until},
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

/// A key with a restriction that the sidecar was told to pass over is not let in.
#[test]
fn a_key_with_credits_needs_a_sidecar_that_spends_them() {
    let place = Place::on_sqlite();
    place.add("credits = false");
    let paid = format!("X-API-Key: {}", place.key(&["--scope", "orders:read", "--credits", "9"]));
    let free = format!("X-API-Key: {}", place.key(&["--scope", "orders:read"]));
    let sidecar = place.start();
    let status = |key: &str| {
        let reply = check(sidecar.address(), "/orders/7", &[key]);
        reply.header("x-api-key-status").unwrap().to_owned()
    };
    assert_eq!((&*status(&free), &*status(&paid)), ("200", "503"));
}

/// A use that is still in memory is written at the end, by whichever signal, and where several come at once: as
/// from `timeout`, or from a supervisor that signals the group as well.
#[test]
fn uses_are_written_at_the_end() {
    for signals in [&["INT"][..], &["TERM"], &["HUP"], &["TERM", "INT", "HUP", "TERM"]] {
        let place = Place::on_sqlite();
        // For the others to come while it goes on.
        place.add("stop_delay = \"500ms\"");
        let key = place.key(&["--scope", "orders:read"]);
        let sidecar = place.start();
        let header = format!("X-API-Key: {key}");
        assert_eq!(check(sidecar.address(), "/orders/7", &[&header]).status, 200);
        let kills: Vec<_> =
            signals.iter().map(|name| format!("kill -s {name} {}", sidecar.id())).collect();
        let sent = Command::new("sh").args(["-c", &kills.join("; ")]).status().unwrap();
        assert!(sent.success(), "{signals:?}");
        let finished = sidecar.wait();
        assert_eq!(finished.status.code(), Some(0), "{signals:?}: {finished:?}");
        let listed = place.command("list").arg("--json").output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("\"use_count\":1"), "{signals:?}: {listed}");
    }
}

/// `nohup` has it outlive its terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_sighup_that_is_ignored_at_the_start_stays_ignored() {
    let place = Place::on_sqlite();
    let mut nohup = Command::new("nohup");
    nohup
        .arg(env!("CARGO_BIN_EXE_tower-api-key"))
        .args(["serve", "--config", "sidecar.toml"])
        .current_dir(place.folder.path())
        .envs([("DATABASE_URL", &*place.url), ("ADDR", "127.0.0.1:0")]);
    let sidecar = Server::start(&mut nohup);
    sidecar.signal("HUP");
    assert_eq!(ask(sidecar.address(), "GET /ready HTTP/1.1", &[]).status, 200);
    sidecar.signal("TERM");
    sidecar.wait_for_stderr("shutting down");
    let finished = sidecar.wait();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
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

/// Between the signal and the end, for load balancers.
#[test]
fn it_goes_on_for_a_time_after_a_signal_and_is_not_ready() {
    let place = Place::on_sqlite();
    place.add("stop_delay = \"1h\"");
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    let to = sidecar.address();
    assert_eq!(ask(to, "GET /ready HTTP/1.1", &[]).status, 200);
    sidecar.signal("TERM");
    sidecar.wait_for_stderr("shutting down");
    until(|| ask(to, "GET /ready HTTP/1.1", &[]).status == 503);
    assert_eq!(ask(to, "GET /health HTTP/1.1", &[]).status, 200);
    assert_eq!(check(to, "/orders/7", &[&format!("X-API-Key: {key}")]).status, 200);
    std::thread::sleep(REPEATED_WITHIN);
    sidecar.signal("TERM");
    assert_eq!(sidecar.wait().status.code(), Some(3));
}

/// With a cache that would keep a key for an hour: by the file of SQLite, by the database, by a Redis, and
/// without a cache.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_at_once() {
    let sqlite = || (String::new(), String::new(), Place::on_sqlite());
    let mut scenes = vec![("1h", sqlite()), ("0s", sqlite())];
    let redis = servers::Server::Redis.url();
    if let Some(redis) = redis.clone() {
        scenes.push(("1h", (redis.clone(), redis, Place::on_sqlite())));
    }
    let database = servers::Database::new(servers::Server::Postgres).await;
    if let Some(database) = &database {
        scenes.push(("1h", (String::new(), String::new(), Place::on(database.url()))));
        // One of both knows of a Redis: for its limits, say.
        for redis in redis.into_iter().collect::<Vec<_>>() {
            let (of_sidecar, of_command) = (redis.clone(), String::new());
            scenes
                .push(("1h", (of_sidecar.clone(), of_command.clone(), Place::on(database.url()))));
            scenes.push(("1h", (of_command, of_sidecar, Place::on(database.url()))));
        }
    }
    let checked = tokio::task::spawn_blocking(move || {
        for (ttl, (of_sidecar, of_command, place)) in scenes {
            place.add(&format!("cache.ttl = \"{ttl}\""));
            let key = place.key(&["--scope", "orders:read"]);
            let header = format!("X-API-Key: {key}");
            let sidecar = Server::start(place.serve().env("REDIS_URL", &of_sidecar));
            let asked = || check(sidecar.address(), "/orders/7", &[&header]);
            let good = asked();
            assert_eq!(good.status, 200, "{good:?}");
            let id = good.header("x-api-key-id").unwrap();
            let mut revoke = place.command("revoke");
            let revoked = process::run(revoke.arg(id).env("REDIS_URL", &of_command));
            assert!(revoked.status.success(), "{revoked:?}");
            until(|| asked().status != 200);
            assert_eq!(code(&asked()), "revoked_key", "{}", place.url);
        }
    });
    checked.await.unwrap();
}

/// nginx adds the address of its client, which may be on the same machine.
#[test]
fn a_client_beside_the_proxy_chooses_no_address() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read", "--allow", "203.0.113.0/24"]);
    let sidecar = place.start();
    let from = |list: &str| {
        let list = format!("X-Forwarded-For: {list}");
        check(sidecar.address(), "/orders/7", &[&format!("X-API-Key: {key}"), &list])
    };
    assert_eq!(from("203.0.113.9").status, 200);
    for list in ["203.0.113.9, 127.0.0.1", "203.0.113.9, 192.0.2.1", ""] {
        assert_eq!(code(&from(list)), "address_not_allowed", "{list}");
    }
}

/// A proxy that takes out other headers than the file names hands on those of the client.
#[test]
fn a_client_sends_no_identity() {
    let place = Place::on_sqlite();
    let owner = "proxy = \"nginx\"\nidentity_headers.owner = \"X-User\"";
    place.configure(&guide::block("toml").replace("proxy = \"nginx\"", owner));
    let key = format!("X-API-Key: {}", place.key(&["--scope", "orders:read"]));
    let sidecar = place.start();
    let with = |header| check(sidecar.address(), "/orders/7", &[&key, header]);
    assert_eq!(with("X-User:").status, 200);
    assert_eq!(code(&with("X-User: admin")), "forward_auth_refused");
    assert_eq!(code(&with("x_user: admin")), "forward_auth_refused");
    assert_eq!(with("X-Api-Key-Owner: admin").status, 200, "it is another header here");
}

#[test]
fn each_proxy_tells_of_requests_in_its_own_headers() {
    let place = Place::on_sqlite();
    let key = format!("X-API-Key: {}", place.key(&["--scope", "orders:read"]));
    let original = [
        "X-Original-Method: GET",
        "X-Original-Proto: http",
        "X-Original-Host: api.example",
        "X-Original-URI: /orders/7",
    ];
    let forwarded = original.map(|header| header.replace("Original", "Forwarded"));
    for (proxy, reads_forwarded) in
        [("nginx", false), ("haproxy", false), ("caddy", true), ("traefik", true)]
    {
        place.configure(&guide::block("toml").replace("\"nginx\"", &format!("{proxy:?}")));
        let sidecar = place.start();
        let asked = |headers: &[&str]| {
            ask(sidecar.address(), "GET /auth HTTP/1.1", &[&[&*key], headers].concat())
        };
        let by_forwarded = asked(&forwarded.each_ref().map(|header| &**header));
        assert_eq!(by_forwarded.status == 200, reads_forwarded, "{proxy}: {by_forwarded:?}");
        let by_original = asked(&original);
        assert_eq!(by_original.status == 200, !reads_forwarded, "{proxy}: {by_original:?}");
        // nginx alone is told the status of a denial in a header.
        let is_told = by_original.header("x-api-key-status").is_some();
        assert_eq!(is_told, proxy == "nginx", "{proxy}");
    }
}

#[test]
fn keys_of_other_systems_and_peppers_are_known() {
    let place = Place::on_sqlite();
    let (plain, slow) = ("issued-by-the-other-system", "slow-key-of-the-other-system");
    // By bcrypt, at its lowest cost.
    let hash = "$2b$04$abcdefghijklmnopqrstuufDoKS25UG6FzFj5qxRabg606/.s0lt6";
    // The SHA-256 of the other one.
    let digest = "9c73d3efef42732bec349e33e26f7c3acb6315804bfcfcd6339e6f8a6aa49867";
    let csv = format!(
        "key_hash,key_prefix,name,scopes\n{digest},,plain,orders:read\n{hash},slow-key,slow,orders:read\n"
    );
    std::fs::write(place.folder.path().join("keys.csv"), csv).unwrap();
    let imported = process::run(place.command("import").arg("keys.csv"));
    assert!(imported.status.success(), "{imported:?}");
    let statuses = |settings: &str| {
        place.add(settings);
        let sidecar = place.start();
        [plain, slow].map(|key| {
            check(sidecar.address(), "/orders/7", &[&format!("X-API-Key: {key}")]).status
        })
    };
    assert_eq!(statuses(""), [401, 401]);
    assert_eq!(statuses("keys.other_formats = true"), [200, 401]);
    assert_eq!(statuses("keys.legacy_hashes = true"), [200, 200]);

    let pepper = ("TOWER_API_KEY_PEPPER", "0123456789abcdef0123456789abcdef");
    let place = Place::on_sqlite();
    let created = process::run(
        place.command("create").args(["--name", "a", "--scope", "orders:read"]).envs([pepper]),
    );
    let key = format!("X-API-Key: {}", created.stdout.trim());
    let with = Server::start(place.serve().envs([pepper]));
    assert_eq!(check(with.address(), "/orders/7", &[&key]).status, 200);
    assert_eq!(check(place.start().address(), "/orders/7", &[&key]).status, 401);
}
