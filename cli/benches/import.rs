//! Imports 10,000 keys from the SQLite table of another system, with one command; says how long it
//! took and at what rate, and fails below a thousand keys a second.
//!
//! `DATABASE_URL` is where to import them; a new SQLite file, if it is not set. `KEYS` is another
//! number of keys, such as a million.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

#[path = "../../benches/support/mode.rs"]
mod mode;
#[path = "../../tests/support/other_system.rs"]
mod other_system;

use std::{env, process::Command, time::Instant};

use other_system::{COUNT, Row};

const AT_LEAST: f64 = 1000.0;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.db");
    let count = env::var("KEYS").map_or(COUNT, |count| count.parse().unwrap());
    let rows: Vec<Row> = (0..count).map(Row::number).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(other_system::make_table(&old, &rows));
    let new = format!("sqlite:{}", directory.path().join("keys.db").display());
    let url = env::var("DATABASE_URL").unwrap_or(new);
    for what in ["imported", "found again"] {
        let mut import = Command::new(env!("CARGO_BIN_EXE_tower-api-key"));
        let import = import.arg("import").arg(&old).env("DATABASE_URL", &url);
        let start = Instant::now();
        assert!(import.status().unwrap().success());
        let took = start.elapsed().as_secs_f64();
        let rate = f64::from(u32::try_from(count).unwrap()) / took;
        println!("{count} keys {what} in {took:.2} s, {rate:.0} a second");
        // Of an optimized build, that is.
        assert!(rate > AT_LEAST || !mode::measures(), "there are to be {AT_LEAST} a second");
    }
}
