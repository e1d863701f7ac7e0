//! `ExtAuthz`: the decision of a `ForwardAuth`, in Envoy's messages.

mod answers;
mod calls;
mod hidden;
mod refused;
mod same;

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tower::ServiceExt;
use tower_api_key::{
    ApiKeyLayer,
    ext_authz::{DownstreamAddress, ExtAuthz},
};

use crate::{
    envoy::{
        Answer, FORMS, Form,
        envoy::service::auth::v3::{CheckRequest, CheckResponse},
        http, question,
    },
    forward_auth::{PROXY, good, layer, with_rules},
    support::KEY,
};

fn service(layer: ApiKeyLayer) -> ExtAuthz {
    let layer =
        layer.with_client_address(|request| request.extensions.get().map(DownstreamAddress::ip));
    with_rules(ExtAuthz::builder(layer)).build().unwrap()
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.put_slice(message);
    frame.freeze()
}

fn call(message: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::post("http://auth/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(framed(message)))
        .unwrap();
    request.extensions_mut().insert(PROXY.parse::<IpAddr>().unwrap());
    request
}

/// The response to a call, with its message: none where the call failed.
fn respond(
    service: &ExtAuthz,
    call: Request<Full<Bytes>>,
) -> (Response<()>, Option<CheckResponse>) {
    // The store may have to be waited for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let Ok(response) = service.clone().oneshot(call).await;
        let (parts, body) = response.into_parts();
        assert_eq!(
            (parts.status.as_u16(), parts.headers["content-type"].as_bytes()),
            (200, &b"application/grpc"[..])
        );
        let body = body.collect().await.unwrap();
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        let bytes = body.to_bytes();
        let message = bytes.get(5..).map(|message| CheckResponse::decode(message).unwrap());
        let mut response = Response::from_parts(parts, ());
        if let Some(status) = status {
            response.headers_mut().insert("grpc-status", status);
        }
        (response, message)
    })
}

fn ask(service: &ExtAuthz, question: &CheckRequest) -> Answer {
    let (response, message) = respond(service, call(&question.encode_to_vec()));
    assert_eq!(response.headers()["grpc-status"], "0");
    Answer::of(message.unwrap())
}

/// Whether it is refused, and let in otherwise.
fn is_refused(service: &ExtAuthz, question: &CheckRequest) -> bool {
    let answer = ask(service, question);
    let is_refused = answer.code() == "forward_auth_refused";
    assert_eq!(is_refused, answer.status != 200, "{answer:?}");
    if !is_refused {
        assert_eq!(answer.values("x-api-key-id")[0].len(), 36);
    }
    is_refused
}
