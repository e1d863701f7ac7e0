//! The program as Lambda runs it: it asks the Runtime API for events, and posts its answers there.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::VecDeque,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

/// A key of the default format.
const KEY: &str = "key_TQOvtDYjkzNbk3QAGhzlJVn8WQcH5hUOUUJYr3fWvhNCHECK";

#[derive(Clone)]
struct Lambda {
    events: Arc<Mutex<VecDeque<Value>>>,
    answers: mpsc::UnboundedSender<(String, Value)>,
}

/// The next event, or none for as long as the program asks.
async fn next(State(lambda): State<Lambda>) -> Response {
    let event = lambda.events.lock().unwrap().pop_front();
    let Some(event) = event else { return std::future::pending().await };
    let headers = [
        ("lambda-runtime-aws-request-id", event["requestContext"]["requestId"].as_str().unwrap()),
        ("lambda-runtime-deadline-ms", "4102444800000"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:1:function:hello"),
        ("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793"),
    ];
    (headers, event.to_string()).into_response()
}

async fn answer(
    State(lambda): State<Lambda>,
    Path(id): Path<String>,
    answer: String,
) -> StatusCode {
    let _ = lambda.answers.send((id, serde_json::from_str(&answer).unwrap()));
    StatusCode::ACCEPTED
}

/// The program, ended when dropped.
struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn event(id: &str, headers: &Value) -> Value {
    json!({
        "version": "2.0",
        "rawPath": "/hello",
        "headers": headers,
        "requestContext": {
            "requestId": id,
            "stage": "$default",
            "http": { "method": "GET", "path": "/hello", "sourceIp": "192.0.2.7" },
            "timeEpoch": 1_796_040_000_000_u64,
        },
        "isBase64Encoded": false,
    })
}

#[tokio::test]
async fn the_program_answers_the_events_of_lambda() {
    let key = tower_api_key::KeyFormat::new("key").unwrap().generate().unwrap();
    let digest = tower_api_key::KeyHasher::default().digest(key.expose()).to_hex();
    let events = [
        event("good", &json!({ "x-api-key": key.expose() })),
        event("typo", &json!({ "x-api-key": KEY })),
        event("none", &json!({})),
        event("again", &json!({ "authorization": format!("Bearer {}", key.expose()) })),
    ];
    let (answers, mut answered) = mpsc::unbounded_channel();
    let lambda = Lambda { events: Arc::new(Mutex::new(events.into())), answers };
    let api = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(answer))
        .with_state(lambda);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, api).await });

    let mut command = Command::new(env!("CARGO_BIN_EXE_with-lambda-http"));
    command
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "hello")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("API_KEY_SHA256", digest)
        .stdin(Stdio::null());
    let _function = Function(command.spawn().unwrap());

    for (id, status, text) in [
        ("good", 200, "Hello, of the environment.\n"),
        ("typo", 401, "malformed_key"),
        ("none", 401, "missing_key"),
        ("again", 200, "Hello, of the environment.\n"),
    ] {
        let answer = timeout(Duration::from_mins(1), answered.recv());
        let (of, answer) = answer.await.expect("no answer").unwrap();
        assert_eq!((&*of, &answer["statusCode"]), (id, &json!(status)), "{answer}");
        let body = answer["body"].as_str().unwrap();
        let problem = serde_json::from_str::<Value>(body).ok();
        let told = problem.as_ref().map_or(body, |problem| problem["code"].as_str().unwrap());
        assert_eq!(told, text, "{answer}");
        // The event has one value for a header: all challenges are in it.
        let asked = answer["headers"]["www-authenticate"].as_str();
        assert_eq!(
            asked.map(|asked| asked.matches("realm=").count()),
            (status == 401).then_some(2),
            "{answer}"
        );
    }
}

#[test]
fn it_does_not_start_without_a_digest() {
    for digest in ["", "00", KEY] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_with-lambda-http"));
        let output = command.env("API_KEY_SHA256", digest).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("API_KEY_SHA256") && !said.contains(KEY), "{said}");
    }
}
