//! The small examples, each run as the process that its user runs, against a real client; and the
//! facts that the project's files state more than once.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[cfg(feature = "cache")]
#[path = "../support/chromium.rs"]
mod chromium;
#[path = "../support/process.rs"]
mod process;

mod custom_store;
mod hyper;
mod quickstart;
#[cfg(feature = "cache")]
mod streams;
#[cfg(feature = "cache")]
mod streams_browser;
mod tonic;

use std::process::Command;

use process::Server;

/// An example to be started, on a port that the operating system chooses.
fn example(name: &str) -> Command {
    let mut command = Command::new(process::example(name));
    command.env("ADDR", "127.0.0.1:0");
    command
}

/// The command line with `text` in it that the example printed.
fn printed(server: &Server, text: &str) -> String {
    server.wait_for_stdout(|line| {
        (line.contains("curl ") && line.contains(text)).then(|| line.to_owned())
    })
}

/// Runs a command line that an example printed, as somebody does who copies it into a shell, and
/// returns what that person sees.
fn paste(line: &str) -> String {
    let mut shell = Command::new("sh");
    // No proxy and no configuration of this user's curl comes in between.
    shell.args(["-c", line]).env("NO_PROXY", "*").env("CURL_HOME", env!("CARGO_TARGET_TMPDIR"));
    let finished = process::run(&mut shell);
    assert!(finished.status.success(), "{line}: {finished:?}");
    finished.stdout
}

/// The key in a command line that an example printed.
fn key_in(line: &str) -> &str {
    let (_, rest) = line.split_once("X-API-Key: ").unwrap();
    rest.split_once('\'').unwrap().0
}
