//! What happens at start: the banner, its commands, and configuration that cannot be used.

use std::{fs, net::TcpListener, process::Command};

use serde_json::json;

use crate::{
    process::{Finished, Server, run},
    support::{ADMIN_KEY, Ask, assert_problem, command, command_on, directory},
};

/// The commands that a banner shows: its indented lines.
pub(crate) fn commands(banner: &str) -> String {
    let lines = banner.lines().filter(|line| line.starts_with("    "));
    lines.fold(String::new(), |all, line| all + line + "\n")
}

pub(crate) fn sh(script: &str) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", script]).env_remove("ADMIN_API_KEY").env("NO_PROXY", "*");
    sh
}

/// Answers as the banner's commands print them: the body, and the status behind an arrow.
#[track_caller]
pub(crate) fn assert_tour(finished: &Finished) {
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(finished.stderr, "");
    let expected = [
        (r#""count":"#, "200"),
        (r#""count":"#, "200"),
        (r#""count":"#, "200"),
        (r#""count":"#, "200"),
        ("missing_key", "401"),
        ("malformed_key", "401"),
        (r#""missing_scopes":["inventory:write"]"#, "403"),
        (r#""limits":[{"name":"minute","requests":1,"#, "200"),
        (r#""count":"#, "200"),
        (r#""limit":"minute""#, "429"),
        (r#""rate_limited":1"#, "200"),
        (r#""status":"active""#, "200"),
        (r#""status":"revoked""#, "200"),
        ("revoked_key", "401"),
    ];
    let answers: Vec<_> = finished.stdout.lines().collect();
    assert_eq!(answers.len(), expected.len(), "{finished:?}");
    for (answer, (body, status)) in answers.into_iter().zip(expected) {
        let good = answer.contains(body) && answer.ends_with(&format!("-> {status}"));
        assert!(good, "{body} {status}: {answer}");
    }
}

pub(crate) fn started(command: &mut Command) -> (Server, String) {
    let server = Server::start(command);
    // The last line.
    server.wait_for_stdout(|line| line.starts_with("Ctrl-C").then_some(()));
    let banner = server.stdout();
    (server, banner)
}

#[test]
fn the_banners_commands_work_as_they_are() {
    let directory = directory();
    let (server, banner) =
        started(command_on(&directory.path().join("keys.db")).env_remove("ADMIN_API_KEY"));
    assert!(banner.contains(&server.url("")), "{banner}");
    assert!(banner.contains("keys.db"), "{banner}");
    assert!(banner.contains("ADMIN_API_KEY=admin_"), "{banner}");
    assert_tour(&run(&mut sh(&commands(&banner))));
}

#[test]
fn a_chosen_admin_key_is_not_printed_and_the_commands_use_it() {
    let (server, banner) = started(
        command()
            .env("ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", "memory:")
            .env("ADMIN_API_KEY", ADMIN_KEY),
    );
    assert!(!banner.contains(ADMIN_KEY), "{banner}");
    assert_tour(&run(sh(&commands(&banner)).env("ADMIN_API_KEY", ADMIN_KEY)));
    assert!(!server.stderr().contains(ADMIN_KEY));
}

#[test]
fn a_new_admin_key_is_made_at_each_start() {
    let generated = || {
        let server =
            Server::start(command().env("ADDR", "127.0.0.1:0").env("DATABASE_URL", "memory://"));
        let key = server.wait_for_stdout(|line| {
            line.trim().strip_prefix("ADMIN_API_KEY=").map(ToOwned::to_owned)
        });
        assert_eq!(key.len(), "admin_".len() + 43 + 6);
        let list = |key: &str| {
            server.ask("GET", "/admin/api-keys", &["-H", &format!("X-Admin-Key: {key}")])
        };
        assert_eq!(list(&key).status, 200);
        assert_problem(&list(ADMIN_KEY), 401, "unknown_key");
        assert!(!server.stderr().contains(&key));
        key
    };
    assert_ne!(generated(), generated());
}

#[test]
fn an_address_for_all_interfaces_is_shown_as_one_that_can_be_reached() {
    let (_server, banner) = started(
        command()
            .env("ADDR", "0.0.0.0:0")
            .env("DATABASE_URL", "memory:")
            .env("ADMIN_API_KEY", ADMIN_KEY),
    );
    assert!(banner.contains("http://127.0.0.1:") && !banner.contains("0.0.0.0"), "{banner}");
    assert_tour(&run(sh(&commands(&banner)).env("ADMIN_API_KEY", ADMIN_KEY)));
}

#[test]
fn keys_are_kept_in_the_current_directory_by_default() {
    let directory = directory();
    let server = Server::start(
        command()
            .env("ADDR", "127.0.0.1:0")
            .env("ADMIN_API_KEY", ADMIN_KEY)
            .current_dir(directory.path()),
    );
    server.create(&json!({ "name": "x" }));
    let file = fs::read(directory.path().join("api-keys.db")).unwrap();
    assert!(file.starts_with(b"SQLite format 3\0"));
}

#[test]
fn both_forms_of_sqlite_urls_name_a_file() {
    let directory = directory();
    let absolute = directory.path().join("absolute.db").display().to_string();
    for (url, file) in [
        ("sqlite:relative.db".to_owned(), "relative.db"),
        ("sqlite://relative-too.db".to_owned(), "relative-too.db"),
        (format!("sqlite://{absolute}"), "absolute.db"),
    ] {
        let command = &mut command();
        let command = command.env("ADDR", "127.0.0.1:0").env("DATABASE_URL", url);
        let _server = Server::start(command.current_dir(directory.path()));
        assert!(directory.path().join(file).exists(), "{file}");
    }
}

/// Runs a server that must not start, and returns what it says.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let finished = run(command);
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    assert_eq!(finished.stdout, "");
    finished.stderr
}

#[test]
fn a_bad_admin_key_is_refused_by_name() {
    let directory = directory();
    for bad in
        ["", "short", "fifteen-bytes-x", "with spaces but long enough", "ümlauts-but-long-enough"]
    {
        let database = directory.path().join("keys.db");
        let error = refused(command_on(&database).env("ADMIN_API_KEY", bad));
        assert!(error.contains("ADMIN_API_KEY"), "{error}");
        assert!(bad.is_empty() || !error.contains(bad), "{error}");
        assert!(!database.exists(), "made a database before it had its configuration");
    }
    Server::start(
        command_on(&directory.path().join("keys.db")).env("ADMIN_API_KEY", "sixteen-bytes-xx"),
    );
}

/// At an address that others can reach, a key is neither made nor thought up.
#[test]
fn where_others_can_try_the_admin_key_must_be_a_good_one() {
    const GUESSABLE: [&str; 3] =
        ["admin-secret-2026", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "0123456789012345"];
    for address in ["0.0.0.0:0", "[::]:0"] {
        let on = |key: Option<&str>| {
            let mut command = command();
            command.env("ADDR", address).env("DATABASE_URL", "memory:");
            command.envs(key.map(|key| ("ADMIN_API_KEY", key)));
            command
        };
        let error = refused(&mut on(None));
        assert!(error.contains("ADMIN_API_KEY is not set") && error.contains(address), "{error}");
        assert!(error.contains("openssl rand -hex 32"), "{error}");
        for key in GUESSABLE {
            let error = refused(&mut on(Some(key)));
            assert!(error.contains("\"ADMIN_API_KEY\" can be guessed"), "{error}");
            assert!(error.contains("openssl rand -hex 32"), "{error}");
            assert!(!error.contains(key), "{error}");
        }
        Server::start(&mut on(Some(ADMIN_KEY)));
    }
    for address in ["127.0.0.1:0", "127.0.0.2:0", "localhost:0"] {
        for key in GUESSABLE {
            let mut command = command();
            command.env("ADDR", address).env("DATABASE_URL", "memory:").env("ADMIN_API_KEY", key);
            let server = Server::start(&mut command);
            server.wait_for_stderr("\"ADMIN_API_KEY\" can be guessed");
            assert!(!server.stderr().contains(key));
        }
    }
}

#[test]
fn trusted_proxies_are_networks() {
    let with = |proxies: &str| {
        let mut command = command();
        command
            .env("ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", "memory:")
            .env("TRUSTED_PROXIES", proxies);
        if !proxies.is_empty() {
            command.env("TRUSTED_PROXY_HEADER", "X-Forwarded-For");
        }
        command
    };
    for good in ["", "10.0.0.7", " 10.0.0.0/8 , 2001:db8::/32,::1 "] {
        Server::start(&mut with(good));
    }
    let error = refused(&mut with("10.0.0.0/8,proxy"));
    let expected = r#"TRUSTED_PROXIES: "proxy" is no network; write networks such as 10.0.0.0/8"#;
    assert!(error.contains(expected), "{error}");
}

#[test]
fn trusted_proxies_and_their_header_go_together() {
    for (set, value, missing) in [
        ("TRUSTED_PROXIES", "10.0.0.0/8", "TRUSTED_PROXY_HEADER"),
        ("TRUSTED_PROXY_HEADER", "X-Forwarded-For", "TRUSTED_PROXIES"),
    ] {
        let mut command = command();
        command.env("ADDR", "127.0.0.1:0").env("DATABASE_URL", "memory:").env(set, value);
        let error = refused(&mut command);
        assert!(error.contains(&format!("{set} is set, and {missing} is not")), "{error}");
    }
    let mut command = command();
    command.env("ADDR", "127.0.0.1:0").env("DATABASE_URL", "memory:");
    command.env("TRUSTED_PROXIES", "10.0.0.0/8").env("TRUSTED_PROXY_HEADER", "X Forwarded For");
    let error = refused(&mut command);
    assert!(error.contains("TRUSTED_PROXY_HEADER: \"X Forwarded For\""), "{error}");
}

/// Port 1 is nobody's.
#[test]
fn databases_that_cannot_be_used_are_refused_and_passwords_not_shown() {
    for url in [
        "postgres://user:hunter2@localhost:1/keys",
        "postgres://user@localhost:1/keys?password=hunter2",
        "mysql://user:hunter2@localhost:1/keys",
        "redis://:hunter2@localhost:1",
        "oracle://user:hunter2@localhost/keys",
        "hunter2.db",
        "sqlite:",
        "sqlite://",
        "sqlite://keys.db?password=hunter2",
        "memory:hunter2",
        "",
    ] {
        let error = refused(command().env("ADDR", "127.0.0.1:0").env("DATABASE_URL", url));
        assert!(error.contains("DATABASE_URL"), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_else_cannot_be_used_is_refused_by_name() {
    for (variable, value) in [
        ("CACHE_TTL", "half a minute"),
        ("CACHE_TTL", "-1"),
        ("CLIENT_TIMEOUT", "soon"),
        ("CLIENT_TIMEOUT", "0"),
        ("MAX_CONNECTIONS", "0"),
        ("MAX_CONNECTIONS", "-1"),
        ("MAX_CONNECTIONS", "many"),
        ("MAX_CONNECTIONS", "1000000000"),
        ("TRUSTED_PROXIES", "nginx"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.1,"),
        ("TRUSTED_PROXIES", "10.0.0.1 10.0.0.2"),
        ("TRUSTED_PROXIES", "*"),
        ("CORS_ORIGINS", "shop.example"),
        ("CORS_ORIGINS", "https://"),
        ("CORS_ORIGINS", "https://shop.example/"),
        ("CORS_ORIGINS", "https://shop.example/path"),
        ("CORS_ORIGINS", "https://Shop.example"),
        ("CORS_ORIGINS", "https://shop.example:443"),
        ("CORS_ORIGINS", "https://shop.example:0"),
        ("CORS_ORIGINS", "https://shop.example:x"),
        ("CORS_ORIGINS", "https://user@shop.example"),
        ("CORS_ORIGINS", "https://*.example"),
        ("CORS_ORIGINS", "https://sh\u{f6}p.example"),
        ("CORS_ORIGINS", "https://a.example,"),
        ("CORS_ORIGINS", "https://a.example,,https://b.example"),
        ("CORS_ORIGINS", "https://a.example https://b.example"),
        ("CORS_ORIGINS", "*,https://a.example"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://[::1"),
        ("REDIS_URL", "hunter2"),
        ("REDIS_URL", "postgres://user:hunter2@localhost/keys"),
        ("REDIS_URL", "redis://:hunter2@localhost:1"),
    ] {
        let mut command = command();
        command.env("ADDR", "127.0.0.1:0").env("DATABASE_URL", "memory:").env(variable, value);
        let error = refused(&mut command);
        assert!(error.contains(variable), "{variable}={value}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    for origins in [
        "*",
        "",
        "https://a.example",
        " https://a.example , http://b.example:8080,https://xn--shp-5qa.example ",
        "http://[::1]:3000,http://127.0.0.1,chrome-extension://abcdefghijklmnop",
    ] {
        let mut command = command();
        command
            .env("ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", "memory:")
            .env("CORS_ORIGINS", origins);
        Server::start(&mut command);
    }
}

#[test]
fn the_cache_can_be_turned_off() {
    let mut command = command();
    command.env("ADDR", "127.0.0.1:0").env("DATABASE_URL", "memory:").env("CACHE_TTL", "0");
    let (server, banner) = started(&mut command);
    server.wait_for_stderr("keys are not cached");
    assert_tour(&run(&mut sh(&commands(&banner))));
}

#[test]
fn a_database_that_cannot_be_opened_is_named() {
    let directory = directory();
    let missing = directory.path().join("no/such/directory/keys.db");
    let garbage = directory.path().join("garbage.db");
    fs::write(&garbage, "no database at all, but quite long. ".repeat(100)).unwrap();
    for file in [missing, garbage] {
        let error = refused(&mut command_on(&file));
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}

#[test]
fn addresses_that_cannot_be_listened_on_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for address in [&*taken, "nonsense", "127.0.0.1", "127.0.0.1:99999"] {
        let error = refused(command().env("ADDR", address).env("DATABASE_URL", "memory:"));
        assert!(error.contains("ADDR") && error.contains(address), "{error}");
    }
}

#[test]
fn port_3000_is_the_default() {
    // Whether this succeeds or somebody else has it: it is taken now.
    let _taken = TcpListener::bind("127.0.0.1:3000");
    let error = refused(command().env("DATABASE_URL", "memory:"));
    assert!(error.contains("127.0.0.1:3000"), "{error}");
}

/// What newcomers write first.
#[test]
fn the_form_of_an_address_and_of_a_file_is_told() {
    for address in ["3000", ":3000", "localhost", "127.0.0.1:99999", "http://127.0.0.1:3000/"] {
        let error = refused(command().env("ADDR", address).env("DATABASE_URL", "memory:"));
        assert!(error.contains(&format!("ADDR={address} ")), "{error}");
        assert!(error.contains("such as 127.0.0.1:3000"), "{error}");
    }
    for file in ["keys.db", "./keys.db", "/tmp/keys.db"] {
        let error = refused(command().env("ADDR", "127.0.0.1:0").env("DATABASE_URL", file));
        assert!(error.contains("`sqlite:keys.db` for a file"), "{error}");
        // Once, and without a place that is none.
        assert_eq!(error.matches("URL").count(), 3, "{error}");
        assert!(!error.contains("cannot use this"), "{error}");
    }
    let error = refused(
        command().env("ADDR", "127.0.0.1:0").env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x"),
    );
    assert_eq!(error.matches("refused").count(), 1, "a cause is told once: {error}");
}
