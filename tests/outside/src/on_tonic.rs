//! tonic: all layers on a server.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::client::{Keys, assert_stack_denies};

/// Asks whether the server is healthy, as `tonic_health` answers.
async fn check(server: SocketAddr, key: Option<&str>) -> Result<i32, Status> {
    let channel =
        Channel::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(key) = key {
        let key: MetadataValue<Ascii> = key.parse().unwrap();
        request.metadata_mut().insert("x-api-key", key);
    }
    let response = HealthClient::new(channel).check(request).await?;
    Ok(response.into_inner().status)
}

#[tokio::test]
async fn every_layer_on_a_server() {
    let keys = Keys::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let serving = Server::builder()
        .layer(stack!(keys.layer.clone()))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(serving);

    const SERVING: i32 = 1;
    assert_eq!(check(server, Some(&keys.good)).await.unwrap(), SERVING);
    for (key, status, message) in [
        (None, Code::Unauthenticated, "missing_key: "),
        (Some(&keys.without_scope), Code::PermissionDenied, "insufficient_scope: "),
    ] {
        let denied = check(server, key.map(String::as_str)).await.unwrap_err();
        assert_eq!(denied.code(), status);
        assert!(denied.message().starts_with(message), "{denied:?}");
    }
    // A request that is not gRPC.
    assert_stack_denies(server, &keys).await;
}
