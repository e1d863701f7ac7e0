//! `examples/streams.rs`: a stream of events ends, and says why, when its key is revoked.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::{example, paste, printed, process::Server};

#[test]
fn a_stream_ends_with_its_key() {
    let server = Server::start(&mut example("streams"));
    let (events, revoke) = (printed(&server, "/events"), printed(&server, "/revoke"));
    let mut shell = Command::new("sh");
    // It ends by itself: the limit is for a stream that does not.
    shell.args(["-c", &format!("exec {} -sS --max-time 60", events.trim())]).env("NO_PROXY", "*");
    let mut curl = shell.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "data: tick"));
    assert_eq!(paste(&revoke).trim_end(), "Its streams end now.");
    let rest: Vec<_> = lines.filter(|line| line != "data: tick" && !line.is_empty()).collect();
    assert_eq!(rest, ["event: end", "data: revoked_key"]);
    assert!(curl.wait().unwrap().success());
    assert!(paste(&events).contains("revoked_key"), "its next request is refused");
}
