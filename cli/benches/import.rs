//! Imports 10,000 keys from the SQLite table of another system, with one command; says how long it
//! took, and fails beyond the ten seconds that it may take.
//!
//! `DATABASE_URL` is where to import them; a new SQLite file, if it is not set.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

#[path = "../../benches/support/mode.rs"]
mod mode;
#[path = "../../tests/support/other_system.rs"]
mod other_system;

use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use other_system::{COUNT, Row};

const AT_MOST: Duration = Duration::from_secs(10);

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.db");
    let rows: Vec<Row> = (0..COUNT).map(Row::number).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(other_system::make_table(&old, &rows));
    let new = format!("sqlite:{}", directory.path().join("keys.db").display());
    let url = env::var("DATABASE_URL").unwrap_or(new);
    for what in ["imported", "found again"] {
        let mut import = Command::new(env!("CARGO_BIN_EXE_tower-api-key"));
        let import = import.arg("import").arg(&old).env("DATABASE_URL", &url);
        let start = Instant::now();
        assert!(import.status().unwrap().success());
        let took = start.elapsed();
        println!("{COUNT} keys {what} in {:.2} s", took.as_secs_f64());
        // Of an optimized build, that is.
        assert!(took < AT_MOST || !mode::measures(), "{COUNT} keys may take {AT_MOST:?}");
    }
}
