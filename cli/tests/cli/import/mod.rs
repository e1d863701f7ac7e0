//! Import fails closed: what is not understood stops it, or keeps the row out.

mod columns;
mod digests;
mod ended;
mod formats;
mod mysql;
mod nothing;
mod states;
mod twice;
mod values;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{process, session::Shell};

/// What became of the one key in a file.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It came in with this status.
    Came(String),
    /// It was left out, as one that has ended.
    LeftOut,
    /// Nothing was imported; the exit code and what was said.
    Stopped(i32, String),
}

fn came(status: &str) -> Outcome {
    Outcome::Came(status.to_owned())
}

/// Imports a file with one key into a new database.
fn import(file: &str, args: &[&str]) -> Outcome {
    let shell = Shell::on_sqlite();
    shell.write("keys", file);
    let mut command = shell.command("tower-api-key");
    let done = process::run(command.args(["import", "keys", "--json"]).args(args));
    if !done.status.success() {
        let code = done.status.code().unwrap();
        let listed = process::run(shell.command("tower-api-key").args(["list", "--json"]));
        assert_eq!(listed.stdout, "", "something was imported all the same");
        return Outcome::Stopped(code, done.stderr);
    }
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    if report["ended"] == 1 {
        assert_eq!(report["imported"], 0);
        return Outcome::LeftOut;
    }
    assert_eq!(report["imported"], 1, "{report}");
    let listed = process::run(shell.command("tower-api-key").args(["list", "--json"]));
    let key: Value = serde_json::from_str(&listed.stdout).unwrap();
    Outcome::Came(key["status"].as_str().unwrap().to_owned())
}

/// What became of each row of a file, whose keys are named by their place: a status, `left out` or
/// `?` where it was invalid.
fn import_all(file: &str, args: &[&str]) -> Vec<String> {
    let shell = Shell::on_sqlite();
    shell.write("keys", file);
    let mut command = shell.command("tower-api-key");
    let done =
        process::run(command.args(["import", "keys", "--json", "--skip-invalid"]).args(args));
    assert!(done.status.success(), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let listed = process::run(shell.command("tower-api-key").args(["list", "--json"]));
    let keys = listed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let came: BTreeMap<usize, String> = keys
        .map(|key| {
            let name = key["name"].as_str().unwrap().parse().unwrap();
            (name, key["status"].as_str().unwrap().to_owned())
        })
        .collect();
    // The places of invalid rows stand in what was said: the rows begin in line 1, or behind a
    // header.
    let first = if file.starts_with('{') { 1 } else { 2 };
    let count = file.lines().count() - (first - 1);
    let outcomes = (0..count).map(|row| match came.get(&row) {
        Some(status) => status.clone(),
        None if done.stderr.contains(&format!("line {}: ", row + first)) => "?".to_owned(),
        None => "left out".to_owned(),
    });
    let outcomes: Vec<_> = outcomes.collect();
    let left_out = outcomes.iter().filter(|outcome| *outcome == "left out").count();
    assert_eq!(report["ended"], left_out, "{done:?}");
    outcomes
}

/// Rows of good keys that differ in one column, as JSON lines. The values are JSON.
fn json_rows(column: &str, values: &[&str]) -> String {
    let row = |(number, value): (usize, &&str)| {
        format!(r#"{{"key_hash":"{number:064x}","name":"{number}","{column}":{value}}}"#) + "\n"
    };
    values.iter().enumerate().map(row).collect()
}

/// The same as CSV.
fn csv_rows(column: &str, values: &[&str]) -> String {
    let row = |(number, value): (usize, &&str)| {
        let value = if *value == "null" { "" } else { value.trim_matches('"') };
        format!("{number:064x},{number},{value}\n")
    };
    format!("key_hash,name,{column}\n") + &values.iter().enumerate().map(row).collect::<String>()
}

/// The row `column`=`value` of a good key, as CSV.
fn csv(column: &str, value: &str) -> String {
    format!("key_hash,{column}\n{:064x},{value}\n", 1)
}

/// The same as a JSON line; the value is JSON.
fn json(column: &str, value: &str) -> String {
    format!("{{\"key_hash\":\"{:064x}\",\"{column}\":{value}}}\n", 1)
}

#[track_caller]
fn assert_stopped(outcome: &Outcome, by: &str) {
    match outcome {
        Outcome::Stopped(2, text) if text.contains(by) => {}
        _ => panic!("{outcome:?} instead of being stopped by {by:?}"),
    }
}
