//! What a script learns from the number: 2 will never work, 3 may work later.

use std::{fs, process::Command};

use sqlx::{ConnectOptions, Connection, Executor, sqlite::SqliteConnectOptions};

use crate::{
    own_redis::OwnRedis,
    process::{self, Finished},
    session::Shell,
};

/// Runs a command with these variables, and makes sure that it says why, once.
#[track_caller]
fn run(shell: &Shell, variables: &[(&str, &str)], args: &[&str]) -> Finished {
    let mut command: Command = shell.command("tower-api-key");
    let finished = process::run(command.envs(variables.iter().copied()).args(args));
    let causes: Vec<_> = finished.stderr.trim().split(": ").collect();
    for (index, cause) in causes.iter().enumerate() {
        assert!(!causes[..index].contains(cause), "told twice: {finished:?}");
    }
    finished
}

#[test]
fn of_databases_that_cannot_be_used() {
    let shell = Shell::on_sqlite();
    shell.write("text.db", &"this is no database, but a text\n".repeat(100));
    let file = |name: &str| format!("sqlite:{}", shell.directory.path().join(name).display());
    for (url, code, said) in [
        ("nonsense", 2, "a URL like"),
        ("mongodb://127.0.0.1/x", 2, "no store for mongodb://"),
        (&*file("text.db"), 2, "not a database"),
        (&*file("text.db?cache=shared"), 2, "`cache`"),
        ("postgres://127.0.0.1:1/x?sslmod=require", 2, "`sslmod`"),
        ("postgres://127.0.0.1:1/x?sslmode=perhaps", 2, "perhaps"),
        ("postgres://127.0.0.1:1/x", 3, "refused"),
        ("mysql://127.0.0.1:1/x?useSSL=true", 2, "`useSSL`"),
        ("mysql://127.0.0.1:1/x", 3, "refused"),
        ("redis://127.0.0.1:port", 2, "Redis URL"),
        ("redis://127.0.0.1:1/?db=3", 2, "`db`"),
        ("redis://127.0.0.1:1", 3, "refused"),
        ("redis+cluster://127.0.0.1:1", 3, "unavailable"),
    ] {
        for args in [&["list"][..], &["create", "--name", "x"]] {
            let finished = run(&shell, &[("DATABASE_URL", url)], args);
            assert_eq!(finished.status.code(), Some(code), "{url}: {finished:?}");
            assert!(finished.stderr.contains(said), "{url}: {finished:?}");
            assert!(finished.stdout.is_empty(), "{url}: {finished:?}");
        }
    }
}

/// The database of an application is opened as the application says.
#[test]
fn of_a_table_behind_a_url_with_options() {
    let shell = Shell::on_sqlite();
    let url = format!("sqlite:{}?cache=shared", shell.directory.path().join("app.db").display());
    for args in [&["migrate"][..], &["create", "--name", "x"], &["list"]] {
        let args: Vec<_> = args.iter().copied().chain(["--table", "own"]).collect();
        let finished = run(&shell, &[("DATABASE_URL", &url)], &args);
        assert_eq!(finished.status.code(), Some(0), "{args:?}: {finished:?}");
    }
}

#[test]
fn of_buses_that_cannot_be_used() {
    let shell = Shell::on_sqlite();
    for (url, code) in [
        ("", 0),
        ("localhost:6379", 2),
        ("https://127.0.0.1:1", 2),
        ("redis://127.0.0.1:port", 2),
        ("redis://127.0.0.1:1/?db=3", 2),
        ("redis://127.0.0.1:1", 3),
    ] {
        let finished = run(&shell, &[("REDIS_URL", url)], &["create", "--name", "x"]);
        assert_eq!(finished.status.code(), Some(code), "{url}: {finished:?}");
    }
}

/// The drivers are built without it.
#[tokio::test]
async fn of_urls_that_ask_for_tls() {
    for shell in [Shell::on_postgres().await, Shell::on_mysql().await].iter().flatten() {
        let mark = if shell.url.contains('?') { '&' } else { '?' };
        let is_mysql = shell.url.starts_with("mysql");
        let option = if is_mysql { "ssl-mode=REQUIRED" } else { "sslmode=require" };
        let url = format!("{}{mark}{option}", shell.url);
        let finished = run(shell, &[("DATABASE_URL", &url)], &["list"]);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains("without TLS support"), "{finished:?}");
    }
}

/// A login or a database that the server refuses is refused again.
#[tokio::test]
async fn of_logins_that_are_refused() {
    let with_database = |url: &str| {
        let (server, database) = url.rsplit_once('/').unwrap();
        let options = database.split_once('?').map_or("", |(_, options)| options);
        format!("{server}/tower_api_key_no_such_database?{options}")
    };
    let with_user = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (_, server) = rest.rsplit_once('@').unwrap_or(("", rest));
        format!("{scheme}://tower_api_key_nobody:wrong-password@{server}")
    };
    for shell in
        [Shell::on_postgres().await, Shell::on_mysql().await, Shell::on_redis()].iter().flatten()
    {
        let mut urls = vec![with_user(&shell.url)];
        if !shell.url.starts_with("redis") {
            urls.push(with_database(&shell.url));
        }
        for url in urls {
            for variable in ["DATABASE_URL", "REDIS_URL"] {
                if variable == "REDIS_URL" && !url.starts_with("redis") {
                    continue;
                }
                let finished = run(shell, &[(variable, &url)], &["create", "--name", "x"]);
                assert_eq!(finished.status.code(), Some(2), "{url}: {finished:?}");
                assert!(!finished.stderr.contains("wrong-password"), "{finished:?}");
            }
        }
    }
}

#[test]
fn of_a_redis_that_wants_a_password() {
    let Some(server) = OwnRedis::start(&["--requirepass", "password"]) else { return };
    let (shell, url) = (Shell::on_sqlite(), server.url());
    let right = url.replace("://", "://:password@");
    let mut connection = redis::Client::open(&*right).unwrap().get_connection().unwrap();
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "reader", "on", ">password", "~*", "&*", "+@read", "+@connection"]);
    user.exec(&mut connection).unwrap();
    let reader = url.replace("://", "://reader:password@");
    for variable in ["DATABASE_URL", "REDIS_URL"] {
        let wrong = url.replace("://", "://:wrong@");
        for (url, code) in [(&right, 0), (&wrong, 2), (&url, 2)] {
            let finished = run(&shell, &[(variable, url)], &["create", "--name", "x"]);
            assert_eq!(finished.status.code(), Some(code), "{variable} {url}: {finished:?}");
        }
    }
    let finished = run(&shell, &[("DATABASE_URL", &reader)], &["create", "--name", "x"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    assert!(finished.stderr.contains("no permissions"), "{finished:?}");
}

#[tokio::test]
async fn of_a_database_in_use() {
    let shell = Shell::on_sqlite();
    let finished = run(&shell, &[], &["create", "--name", "x"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    let path = shell.directory.path().join("keys.db");
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let finished = run(&shell, &[], &["create", "--name", "y"]);
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert!(finished.stderr.contains("locked"), "{finished:?}");
    other.execute("ROLLBACK").await.unwrap();

    other.execute("INSERT INTO api_keys_schema VALUES (1000, 0)").await.unwrap();
    for args in [&["list"][..], &["create", "--name", "z"], &["verify"]] {
        let finished = run(&shell, &[("API_KEY", "key_0123456789abcdef")], args);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains("schema version 1000"), "{finished:?}");
    }
    other.close().await.unwrap();
}

#[test]
fn of_answers() {
    let shell = Shell::on_sqlite();
    shell.write("invalid.csv", "key_hash,name\n0123,x\n");
    let made = run(&shell, &[], &["create", "--name", "x"]);
    let key = made.stdout.trim();
    let unknown = "0192f0c1-2b3c-7d4e-8f50-616263646566";
    for (args, key, code) in [
        (&["verify"][..], key, 0),
        (&["verify"], "key_0123456789abcdef", 1),
        (&["verify", "--scope", "a:b"], key, 1),
        (&["show", unknown], "", 1),
        (&["revoke", unknown], "", 1),
        (&["show", "no-id"], "", 2),
        (&["create", "--name", ""], "", 2),
        (&["create"], "", 2),
        (&["import", "invalid.csv"], "", 2),
    ] {
        let finished = run(&shell, &[("API_KEY", key)], args);
        assert_eq!(finished.status.code(), Some(code), "{args:?}: {finished:?}");
    }
    fs::remove_file(shell.directory.path().join("keys.db")).unwrap();
    assert_eq!(run(&shell, &[], &["list"]).status.code(), Some(2), "there is no file");
}

/// A script's author reads them there.
#[test]
fn are_in_the_help() {
    let shell = Shell::on_sqlite();
    let help = run_help(&shell);
    for text in ["Exit codes:", "does not help", "may work later", "30 seconds", "CACHE_TTL"] {
        assert!(help.contains(text), "{help}");
    }
    // Each beside its number, as it is in `of_answers`.
    let guide = include_str!("../../../docs/guide/command_line.md");
    let table = guide.split_once("| exit code |").unwrap().1.split_once("\n\n").unwrap().0;
    let table = table.replace("| 0 |", "  0  ").replace("| 1 |", "  1  ").replace("| 2 |", "  2  ");
    for text in [&help, &table] {
        let place = |text: &str, part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        let [one, two, rows] = ["  1  ", "  2  ", "rows to import"].map(|part| place(text, part));
        assert!(one < two && two < rows, "{text}");
    }
}

fn run_help(shell: &Shell) -> String {
    process::run(shell.command("tower-api-key").arg("--help")).stdout
}

/// A pepper that is passed over would make good keys unknown.
#[cfg(unix)]
#[test]
fn of_variables_that_are_no_unicode() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let shell = Shell::on_sqlite();
    let pepper = ("TOWER_API_KEY_PEPPER", OsStr::new("a pepper of thirty-two bytes or more"));
    let seal = ("TOWER_API_KEY_SEAL", OsStr::new("a secret of thirty-two bytes or more"));
    for (name, args) in [
        ("DATABASE_URL", &["list"][..]),
        ("REDIS_URL", &["create", "--name", "x"]),
        ("TOWER_API_KEY_PEPPER", &["list"]),
        ("TOWER_API_KEY_PEPPER_NEXT", &["list"]),
        ("TOWER_API_KEY_PEPPER_RETIRED", &["list"]),
        ("TOWER_API_KEY_PEPPER_PLAIN_UNTIL", &["list"]),
        ("TOWER_API_KEY_SEAL", &["create", "--name", "x"]),
        ("TOWER_API_KEY_SEAL_NEXT", &["create", "--name", "x"]),
        ("TOWER_API_KEY_SEAL_RETIRED", &["create", "--name", "x"]),
        ("API_KEY", &["verify"]),
        ("SOURCE_DATABASE_URL", &["import", "--peppered"]),
    ] {
        let mut command: Command = shell.command("tower-api-key");
        let value = OsStr::from_bytes(b"hunter2\xff");
        let finished = process::run(command.envs([pepper, seal, (name, value)]).args(args));
        assert_eq!(finished.status.code(), Some(2), "{name}: {finished:?}");
        assert!(finished.stderr.contains(name), "{name}: {finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{name}: {finished:?}");
    }
}
