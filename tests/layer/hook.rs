//! The rendering hook.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tower_api_key::{ApiKeyLayer, Rejection, rejection::RejectionResponse};

use crate::{
    denials::denied,
    grpc::as_grpc,
    stores::TestStore,
    support::{KEY, get, header_values, record, send, send_waiting, with_key},
};

/// Renders denials as a line of text.
fn as_text(rejection: &Rejection, prepared: Response<Bytes>) -> Response<Bytes> {
    let mut response = prepared.map(|_| Bytes::from(format!("no: {}", rejection.kind().code())));
    let text = header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

#[tokio::test]
async fn every_denial_goes_through_it_and_starts_from_the_prepared_one() {
    for (kind, layer, request) in denied() {
        let answer = send_waiting(&layer.with_rejection_response(as_text), request).await;
        assert_eq!(answer.response.status(), kind.status());
        assert_eq!(answer.response.body(), &*format!("no: {}", kind.code()));
        assert_eq!(header_values(&answer.response, header::CONTENT_TYPE), ["text/plain"]);
        assert_eq!(header_values(&answer.response, header::CACHE_CONTROL), ["no-store"]);
        let challenged = answer.response.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(challenged, [400, 401].contains(&kind.status().as_u16()), "{kind:?}");
    }
}

#[test]
fn it_may_start_from_another_response_and_the_rejection_is_attached_all_the_same() {
    struct Redirect;
    impl RejectionResponse for Redirect {
        fn respond(&self, _: &Rejection, _: Response<Bytes>) -> Response<Bytes> {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::SEE_OTHER;
            response
        }
    }
    let layer = ApiKeyLayer::new(TestStore::new([])).with_rejection_response(Redirect);
    let answer = send(&layer, get("/"));
    assert_eq!(answer.response.status(), 303);
    assert!(answer.response.headers().is_empty());
    assert_eq!(answer.rejection().kind().code(), "missing_key");
}

/// A hook may start from another response and keep the status: a 401 has a challenge then, too.
#[test]
fn a_401_has_a_challenge_whatever_it_does() {
    let layer = ApiKeyLayer::new(TestStore::new([])).with_rejection_response(
        |_: &Rejection, _: Response<Bytes>| {
            let mut response = Response::new(Bytes::from("no"));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response
        },
    );
    let response = send(&layer, get("/")).response;
    assert_eq!(
        header_values(&response, header::WWW_AUTHENTICATE),
        [r#"ApiKey realm="api", in="header", name="x-api-key""#, r#"Bearer realm="api""#]
    );
}

#[test]
fn it_sees_the_truth_beside_the_uniform_response() {
    let layer = ApiKeyLayer::new(TestStore::new([]))
        .with_uniform_denials()
        .with_rejection_response(|rejection: &Rejection, prepared: Response<Bytes>| {
            assert_eq!(rejection.kind().code(), "unknown_key");
            prepared
        });
    let answer = send(&layer, with_key(KEY));
    assert_eq!(answer.outcome(), "invalid_key");
}

#[test]
fn grpc_and_admitted_requests_do_not_go_through_it() {
    fn never(_: &Rejection, _: Response<Bytes>) -> Response<Bytes> {
        panic!("not for this request")
    }
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_rejection_response(never);
    assert_eq!(send(&layer, with_key(KEY)).outcome(), "admitted");
    let answer = send(&layer, as_grpc(get("/"), "application/grpc"));
    assert_eq!(answer.response.headers()["grpc-status"], "16");
}
