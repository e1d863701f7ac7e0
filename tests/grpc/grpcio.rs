//! Calls by grpcio: scripts make them, and print the outcomes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::python::run;

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
    run(include_str!("client.py"), calls).await
}
