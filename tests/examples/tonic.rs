//! `examples/tonic`: the generated client, and curl for what a client does not show.

use ::tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use futures_util::{FutureExt, StreamExt, future::pending, stream};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use tokio::sync::oneshot;
use tonic_types::StatusExt;
use tonic_web::GrpcWebClientLayer;
use tower::ServiceBuilder;
use tower_api_key::RejectionKind;

use crate::{
    example, key_in, paste, printed,
    process::{Reply, Server, curl},
};
use greeter::{GreetOftenRequest, GreetRequest, greeter_client::GreeterClient};
use until_end::until_end;

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod greeter {
    include!("../../examples/tonic/generated/greeter.rs");
}

#[path = "../../examples/tonic/until_end.rs"]
mod until_end;

const METHOD: &str = "/greeter.Greeter/Greet";
const STREAM: &str = "/greeter.Greeter/GreetOften";

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

/// Or the client would take it for a whole one.
#[tokio::test]
async fn a_stream_that_its_key_ends_is_an_error() {
    for reason in [RejectionKind::Revoked, RejectionKind::Expired, RejectionKind::Unavailable] {
        let (end, ended) = oneshot::channel();
        let messages = stream::iter(0..).map(Ok::<_, Status>);
        let mut seen = Box::pin(until_end(messages, ended.map(Result::unwrap)));
        for count in 0..3 {
            assert_eq!(seen.next().await.unwrap().unwrap(), count);
        }
        end.send(reason).unwrap();
        let status = seen.next().await.expect("a last item").unwrap_err();
        assert!(status.message().starts_with(&format!("{}: ", reason.code())), "{status:?}");
        assert_ne!(status.code(), Code::Ok);
        assert!(seen.next().await.is_none());
    }
}

/// Messages that come to an end of their own do not wait for that of their key.
#[tokio::test]
async fn a_whole_stream_has_no_error() {
    let messages = stream::iter(0..3).map(Ok::<_, Status>);
    let seen = until_end(messages, pending());
    let seen: Option<Vec<_>> = seen.map(Result::unwrap).collect().now_or_never();
    assert_eq!(seen.as_deref(), Some(&[0, 1, 2][..]), "none, if it is still open");
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

/// A denial by the handler, with what the layer adds to its own.
#[tokio::test]
async fn a_handler_denies_as_the_layer_does() {
    let server = Server::start(&mut example("tonic"));
    let mut client = client(&server).await;
    let without_owner = key_in(&printed(&server, STREAM)).to_owned();
    let request = with_key(GreetRequest {}, &without_owner);
    assert!(client.greet(request).await.is_ok());
    let request = with_key(GreetOftenRequest { times: 3 }, &without_owner);
    let status = client.greet_often(request).await.unwrap_err();
    assert_unauthenticated(&status, "inactive_owner: ");
    let seen = paste(&printed(&server, STREAM));
    assert!(seen.contains("grpc-message: inactive_owner: "), "{seen:?}");
}

#[test]
fn a_denial_has_no_body_and_no_trailers() {
    let server = Server::start(&mut example("tonic"));
    let reply = post(&server, "application/grpc");
    assert_trailers_only(&reply, "application/grpc");
}

/// A gRPC-Web client over HTTP/1.1, as in a browser: tonic-web outside makes native gRPC of its
/// requests, and of what comes back gRPC-Web.
#[tokio::test]
async fn a_grpc_web_client_understands_both() {
    let server = Server::start(&mut example("tonic"));
    let http = HttpClient::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new().layer(GrpcWebClientLayer::new()).service(http);
    let mut client = GreeterClient::with_origin(service, server.url("").parse().unwrap());

    let status = client.greet(GreetRequest {}).await.unwrap_err();
    assert_unauthenticated(&status, "missing_key: ");
    let wrong = with_key(GreetRequest {}, "key_that-nobody-issued");
    assert_unauthenticated(&client.greet(wrong).await.unwrap_err(), "malformed_key: ");

    let request = with_key(GreetRequest {}, &good_key(&server));
    assert_eq!(client.greet(request).await.unwrap().into_inner().text, "Hello, the first caller.");
}

/// What a preflight looks like is in its method and headers alone, and tonic looks at neither: it
/// dispatches by path. The CORS layer outside answers, and no handler runs.
#[test]
fn no_handler_runs_for_what_looks_like_a_preflight() {
    let server = Server::start(&mut example("tonic"));
    let url = server.url(METHOD);
    let call = format!(
        "curl -si --http2-prior-knowledge -X OPTIONS -H 'origin: https://x.example' -H 'access-control-request-method: POST' -H 'content-type: application/grpc' -H 'te: trailers' --output - {url}",
    );
    let seen = paste(&call);
    assert!(seen.contains("access-control-allow-origin: *"), "{seen:?}");
    // With the message of a call in its body, of which nothing is read: curl may see the answer, or
    // that the stream ended. Without the first of the headers it is no preflight to anybody.
    let with_body = format!(r"printf '\0\0\0\0\0' | {call} --data-binary @- || true");
    let plain = with_body.replace("-H 'access-control-request-method: POST' ", "");
    for line in [&with_body, &plain] {
        let seen = paste(line);
        assert!(!seen.contains("Hello") && !seen.contains("grpc-status: 0"), "{line}: {seen:?}");
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
    let info = status.get_details_error_info().unwrap();
    assert_eq!(format!("{}: ", info.reason), message);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
}

/// Calls the method without a key.
fn post(server: &Server, content_type: &str) -> Reply {
    let content_type = format!("content-type: {content_type}");
    let url = server.url(METHOD);
    let te = ["-H", "te: trailers"];
    curl(
        [&["--http2-prior-knowledge", "-H", &content_type][..], &te, &["--data-binary", "", &url]]
            .concat(),
    )
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
