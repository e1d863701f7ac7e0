//! What a script learns from the number: 2 will never work, 3 may work later.

use std::{fs, process::Command};

use sqlx::{ConnectOptions, Connection, Executor, sqlite::SqliteConnectOptions};

use crate::{
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
}

fn run_help(shell: &Shell) -> String {
    process::run(shell.command("tower-api-key").arg("--help")).stdout
}
