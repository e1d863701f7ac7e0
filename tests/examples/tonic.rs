//! `examples/tonic`: the generated client, and curl for what a client does not show.

use ::tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tokio_stream::StreamExt;

use crate::{
    example, key_in, paste, printed,
    process::{Reply, Server, curl},
};
use greeter::{GreetOftenRequest, GreetRequest, greeter_client::GreeterClient};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod greeter {
    include!("../../examples/tonic/generated/greeter.rs");
}

const METHOD: &str = "/greeter.Greeter/Greet";

#[tokio::test]
async fn a_unary_handler_knows_the_caller() {
    let server = Server::start(&mut example("tonic"));
    let mut client = client(&server).await;
    let request = with_key(GreetRequest {}, &good_key(&server));
    let greeting = client.greet(request).await.unwrap().into_inner();
    assert_eq!(greeting.text, "Hello, the first caller.");
}

#[tokio::test]
async fn a_streaming_handler_knows_the_caller() {
    let server = Server::start(&mut example("tonic"));
    let mut client = client(&server).await;
    let request = with_key(GreetOftenRequest { times: 3 }, &good_key(&server));
    let stream = client.greet_often(request).await.unwrap().into_inner();
    let texts: Vec<String> = stream.map(|greeting| greeting.unwrap().text).collect().await;
    let expected = (1..=3).map(|count| format!("Hello, the first caller, {count}."));
    assert_eq!(texts, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn denials_are_statuses_that_a_client_understands() {
    let server = Server::start(&mut example("tonic"));
    let mut client = client(&server).await;

    let status = client.greet(GreetRequest {}).await.unwrap_err();
    assert_unauthenticated(&status, "missing_key: ");

    let status = client.greet_often(GreetOftenRequest { times: 3 }).await.unwrap_err();
    assert_unauthenticated(&status, "missing_key: ");

    let wrong = with_key(GreetRequest {}, "key_that-nobody-issued");
    assert_unauthenticated(&client.greet(wrong).await.unwrap_err(), "malformed_key: ");

    // The connection goes on: the same client with a good key.
    let request = with_key(GreetRequest {}, &good_key(&server));
    assert!(client.greet(request).await.is_ok());
}

#[test]
fn a_denial_has_no_body_and_no_trailers() {
    let server = Server::start(&mut example("tonic"));
    let reply = post(&server, "application/grpc");
    assert_trailers_only(&reply, "application/grpc");
}

#[test]
fn a_grpc_web_denial_is_of_the_same_shape() {
    let server = Server::start(&mut example("tonic"));
    for content_type in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let reply = post(&server, content_type);
        assert_trailers_only(&reply, content_type);
    }
}

#[test]
fn a_request_that_is_not_grpc_is_denied_as_a_problem() {
    let server = Server::start(&mut example("tonic"));
    let reply = post(&server, "application/json");
    assert_eq!((reply.status, reply.json()["code"].as_str()), (401, Some("missing_key")));
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
}

#[test]
fn the_printed_line_works() {
    let server = Server::start(&mut example("tonic"));
    let seen = paste(&printed(&server, METHOD));
    assert!(seen.contains("Hello, the first caller."), "{seen:?}");
    assert!(seen.contains("grpc-status: 0"), "{seen:?}");
}

async fn client(server: &Server) -> GreeterClient<Channel> {
    GreeterClient::connect(server.url("")).await.unwrap()
}

fn good_key(server: &Server) -> String {
    key_in(&printed(server, METHOD)).to_owned()
}

fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    let key: MetadataValue<Ascii> = key.parse().unwrap();
    request.metadata_mut().insert("x-api-key", key);
    request
}

fn assert_unauthenticated(status: &Status, message: &str) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().starts_with(message), "{status:?}");
    assert!(status.metadata().contains_key("www-authenticate"), "{status:?}");
}

/// Calls the method without a key.
fn post(server: &Server, content_type: &str) -> Reply {
    let content_type = format!("content-type: {content_type}");
    let url = server.url(METHOD);
    curl(["--http2-prior-knowledge", "-H", &content_type, "--data-binary", "", &url])
}

/// What the gRPC protocol calls Trailers-Only: the status among the headers, and nothing after.
fn assert_trailers_only(reply: &Reply, content_type: &str) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some(content_type));
    assert_eq!(reply.header("grpc-status"), Some("16"), "{reply:?}");
    assert!(reply.header("grpc-message").unwrap().starts_with("missing_key: "), "{reply:?}");
    assert!(reply.header("www-authenticate").is_some(), "{reply:?}");
    assert_eq!(reply.body, "");
}
