//! Programs in Python, with the packages of `scripts/grpcio.txt`.

use std::{
    env,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::{Serialize, de::DeserializeOwned};

/// What this program makes of its input. `None` where grpcio is left out.
pub(crate) async fn run<O: DeserializeOwned>(
    program: &'static str,
    input: &[impl Serialize],
) -> Option<O> {
    let python = python()?;
    let input = serde_json::to_vec(input).unwrap();
    let run = move || {
        let mut command = Command::new(python);
        // Calls that are tried again say nothing of it.
        command.args(["-c", program]).env_remove("GRPC_VERBOSITY").env_remove("GRPC_TRACE");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", output.status);
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The Python for which `scripts/test` installs grpcio.
fn python() -> Option<PathBuf> {
    let without = env::var("TEST_WITHOUT").unwrap_or_default();
    if without.split(',').any(|name| name.trim() == "grpcio") {
        let _ = writeln!(std::io::stderr(), "TEST_WITHOUT: the tests with grpcio are left out");
        return None;
    }
    let of_home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(of_home).unwrap();
    let python = cache.join("tower-api-key/grpcio/bin/python");
    assert!(
        python.exists(),
        "there is no grpcio to test with: `scripts/test --test grpc` installs it, or leave its tests \
         out with TEST_WITHOUT=grpcio"
    );
    Some(python)
}
