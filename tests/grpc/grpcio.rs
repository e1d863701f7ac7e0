//! Calls by grpcio: scripts make them, and print the outcomes.

use std::{
    env,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A call of the greeter's method.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Call {
    address: String,
    streams: bool,
    metadata: Vec<(&'static str, String)>,
    service_config: Option<Value>,
}

impl Call {
    /// Of the unary method.
    pub(crate) fn new(server: SocketAddr) -> Self {
        let address = server.to_string();
        Self { address, streams: false, metadata: Vec::new(), service_config: None }
    }

    /// Of the method that answers with a stream.
    pub(crate) fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((name, value.into()));
        self
    }

    pub(crate) fn with_service_config(self, config: Value) -> Self {
        Self { service_config: Some(config), ..self }
    }
}

/// What came of a call.
#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Outcome {
    /// The name of the status code.
    pub(crate) code: String,
    /// The texts of the answers.
    #[serde(default)]
    pub(crate) texts: Vec<String>,
    #[serde(default)]
    pub(crate) message: String,
    /// The messages in `google.rpc.Status`, as JSON.
    #[serde(default)]
    pub(crate) details: Option<Vec<Value>>,
    /// Whether headers came before the trailers.
    #[serde(default)]
    pub(crate) has_headers: bool,
    #[serde(default)]
    pub(crate) metadata: Vec<(String, String)>,
}

impl Outcome {
    /// The only value of this name among the trailers.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        let mut values = self.metadata.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name}: {:?}", self.metadata);
        value
    }

    /// The details of this type.
    pub(crate) fn details_of(&self, name: &str) -> Option<&Value> {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        self.details.as_ref()?.iter().find(|detail| detail["@type"] == *url)
    }
}

/// The outcomes of calls, one after the other. `None` where grpcio is left out.
pub(crate) async fn outcomes(calls: &[Call]) -> Option<Vec<Outcome>> {
    run("client.py", calls).await
}

/// What a script here makes of its input. `None` where grpcio is left out.
pub(crate) async fn run<O: DeserializeOwned>(
    script: &'static str,
    input: &[impl Serialize],
) -> Option<O> {
    let python = python()?;
    let input = serde_json::to_vec(input).unwrap();
    let run = move || {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpc");
        let mut command = Command::new(python);
        // Calls that are tried again say nothing of it.
        command
            .arg(Path::new(scripts).join(script))
            .env_remove("GRPC_VERBOSITY")
            .env_remove("GRPC_TRACE");
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
