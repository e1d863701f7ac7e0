//! What clients and administrators send to nodes.

use std::{net::SocketAddr, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;
use tower_api_key::RejectionKind;

use crate::history::Verdict;

/// Longer than a node waits for its servers. One that is stopped does not answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Connections to nodes.
pub(crate) struct Caller(Client<HttpConnector, Empty<Bytes>>);

/// What became of an act.
pub(crate) enum Acted {
    Done(Value),
    /// It never reached a node.
    Not,
    /// It may have been done, or will be.
    Unsure,
}

impl Caller {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// A request with this key. `None` where the node gives no answer.
    pub(crate) async fn ask(&self, node: SocketAddr, key: &str) -> Option<Verdict> {
        let request = Request::get(format!("http://{node}/")).header("x-api-key", key);
        let (status, body) = self.send(request.body(Empty::new()).unwrap()).await.ok()??;
        if status == StatusCode::OK {
            return Some(Verdict::Accepted);
        }
        let problem: Value = serde_json::from_slice(&body).unwrap();
        let kind = RejectionKind::all().find(|kind| problem["code"] == kind.code());
        Some(Verdict::Refused(kind.unwrap_or_else(|| panic!("{status}: {problem}"))))
    }

    /// An act of an administrator.
    pub(crate) async fn act(&self, node: SocketAddr, path: &str) -> Acted {
        let request = Request::post(format!("http://{node}{path}")).body(Empty::new()).unwrap();
        match self.send(request).await {
            Ok(Some((StatusCode::OK, body))) => Acted::Done(serde_json::from_slice(&body).unwrap()),
            Err(error) if error.is_connect() => Acted::Not,
            _ => Acted::Unsure,
        }
    }

    /// `None` where it takes too long, or the answer ends in the middle.
    async fn send(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Option<(StatusCode, Bytes)>, hyper_util::client::legacy::Error> {
        let answer = async {
            let response = self.0.request(request).await?;
            let status = response.status();
            Ok(response.collect().await.ok().map(|body| (status, body.to_bytes())))
        };
        timeout(TIMEOUT, answer).await.unwrap_or(Ok(None))
    }
}
