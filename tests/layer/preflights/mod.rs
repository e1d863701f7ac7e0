//! CORS preflights: judged like any request, with a denial that says where the CORS layer belongs;
//! and where `pass_cors_preflights` lets them in, which requests are taken for one ([`shape`]), what
//! layers inside make of them ([`inside`]), and that servers run nothing for them ([`servers`]).

mod inside;
mod servers;
mod shape;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{Empty, Full};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, Rejection};

use crate::{
    stores::TestStore,
    support::{KEY, header_values, problem, record, request_to, respond_now, send, with_key},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
}

/// A preflight, with these headers as well.
pub(crate) fn preflight(more: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let of_all = [("origin", "https://web.test"), ("access-control-request-method", "PUT")];
    options(&[&of_all[..], more].concat())
}

fn options(headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = request_to("/", headers).map(|()| Empty::new());
    *request.method_mut() = Method::OPTIONS;
    request
}

/// Sends a request through `layer`, which passes preflights, to a service that answers 200 with
/// the name of the key that it sees.
pub(crate) fn pass<B: http_body::Body>(layer: ApiKeyLayer, request: Request<B>) -> Response<Bytes> {
    let inner = service_fn(async |request: Request<B>| {
        let key = request.extensions().get::<AuthenticatedKey>();
        let name = key.map_or("nobody", AuthenticatedKey::name).to_owned();
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(name)))
    });
    respond_now(ServiceBuilder::new().layer(layer.pass_cors_preflights()).service(inner), request)
}

/// `passed`, or the code of the denial.
fn outcome(response: &Response<Bytes>) -> String {
    // A denied gRPC request has the status 200.
    let denied = response.extensions().get::<Rejection>();
    denied.map_or("passed".into(), |rejection| rejection.kind().code().into())
}

#[test]
fn a_preflight_is_judged_like_any_request() {
    let judged = |layer: &ApiKeyLayer, more: &[_]| send(layer, preflight(more).map(drop));
    assert_eq!(judged(&layer(), &[]).outcome(), "missing_key");
    assert_eq!(judged(&layer(), &[("x-api-key", KEY)]).outcome(), "admitted");
    assert_eq!(judged(&layer(), &[("x-api-key", "short")]).outcome(), "malformed_key");
    assert_eq!(judged(&layer().allow_anonymous(), &[]).outcome(), "anonymous");
    let secure = layer().require_secure_transport();
    assert_eq!(judged(&secure, &[]).outcome(), "insecure_transport");
}

#[test]
fn its_denial_says_where_the_cors_layer_belongs() {
    let hint = "the service's CORS layer belongs outside its API key layer";
    for layer in [layer(), layer().require_secure_transport(), layer().with_uniform_denials()] {
        for more in [&[][..], &[("accept", "*/*")]] {
            let denied = send(&layer, preflight(more).map(drop)).response;
            let problem = problem(&denied);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(hint), "{detail}");
            // The rest is as in every denial.
            assert_eq!(problem["status"], denied.status().as_u16());
        }
    }
    for other in [options(&[]), options(&[("origin", "https://web.test")])] {
        let denied = send(&layer(), other.map(drop)).response;
        assert!(!problem(&denied)["detail"].as_str().unwrap().contains("CORS"));
    }
    let denied = send(&layer(), preflight(&[]).map(drop)).response;
    assert_eq!(header_values(&denied, http::header::WWW_AUTHENTICATE).len(), 2);
    assert_eq!(header_values(&denied, http::header::CACHE_CONTROL), ["no-store"]);
}

#[test]
fn a_layer_that_passes_preflights_judges_everything_else() {
    for (request, expected) in [
        (with_key(KEY), "passed"),
        (with_key("short"), "malformed_key"),
        (request_to::<&str>("/", &[]), "missing_key"),
    ] {
        let request = request.map(|()| Empty::<Bytes>::new());
        assert_eq!(outcome(&pass(layer(), request)), expected);
    }
}
