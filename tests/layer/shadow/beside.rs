//! A layer beside the check that it is to take the place of.

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, util::BoxCloneSyncService};
use tower_api_key::{
    AuthenticatedKey,
    auth::{Difference, Noted, WouldDeny},
};

use super::{Inner, keys, send_now};
use crate::support::{KEY, OTHER_KEY, get, record, with_key};

/// The caller, as the other check has it.
#[derive(Clone)]
struct Caller(&'static str);

/// A check that lets the listed keys in.
#[derive(Clone)]
struct OtherCheck {
    keys: &'static [(&'static str, &'static str)],
    denial: StatusCode,
}

impl Layer<Noted<Inner>> for OtherCheck {
    type Service = Inner;

    fn layer(&self, inner: Noted<Inner>) -> Inner {
        let Self { keys, denial } = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |mut request: Request<()>| {
            let mut inner = inner.clone();
            let key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
            let caller = keys.iter().find(|(known, _)| Some(*known) == key);
            let caller = caller.map(|(_, caller)| Caller(caller));
            async move {
                let Some(caller) = caller else {
                    let mut response = Response::new(Full::from("no"));
                    *response.status_mut() = denial;
                    return Ok(response);
                };
                request.extensions_mut().insert(caller);
                inner.call(request).await
            }
        }))
    }
}

const UNKNOWN: &str = "an-unknown-key-of-these-tests-01";

#[test]
fn the_other_answer_is_served_and_differences_are_told() {
    for (other, request, status, difference) in [
        // Both let it in.
        (&[(KEY, "good")][..], with_key(KEY), 200, None),
        // Both deny it, alike and not.
        (&[], get("/"), 401, None),
        (&[], with_key(UNKNOWN), 401, None),
        (&[], with_key(KEY), 401, Some(Difference::OnlyOtherDenies(StatusCode::UNAUTHORIZED))),
        (&[(OTHER_KEY, "revoked")], with_key(OTHER_KEY), 200, Some(Difference::OnlyKeysDeny)),
        (&[(KEY, "else")], with_key(KEY), 200, Some(Difference::OtherIdentity)),
    ] {
        let other = OtherCheck { keys: other, denial: StatusCode::UNAUTHORIZED };
        let layer = keys().shadowing(other).with_comparison(|key, extensions| {
            extensions.get::<Caller>().is_some_and(|caller| caller.0 == key.name())
        });
        let passed = send_now(&layer, request);
        assert_eq!(passed.response.status(), status);
        assert!(passed.response.headers().is_empty());
        assert_eq!(passed.response.extensions().get::<Difference>().copied(), difference);
        if let Some(seen) = &passed.seen {
            assert!(seen.extensions.get::<AuthenticatedKey>().is_none(), "only the other's");
            assert!(seen.extensions.get::<Caller>().is_some());
        }
    }
}

#[test]
fn another_status_is_a_difference() {
    let other = OtherCheck { keys: &[], denial: StatusCode::FORBIDDEN };
    let passed = send_now(&keys().shadowing(other), with_key(OTHER_KEY));
    let difference = passed.response.extensions().get::<Difference>();
    assert_eq!(difference, Some(&Difference::OtherStatus(StatusCode::FORBIDDEN)));
    let denial = passed.response.extensions().get::<WouldDeny>().unwrap();
    assert_eq!(denial.rejection().kind().code(), "revoked_key");
}

/// What is not decided is no difference.
#[tokio::test(start_paused = true)]
async fn a_silent_store_tells_nothing() {
    let keys = tower_api_key::ApiKeyLayer::new(crate::stores::TestStore::stuck());
    let other = OtherCheck { keys: &[(KEY, "good")], denial: StatusCode::UNAUTHORIZED };
    for key in [KEY, UNKNOWN] {
        let layer = keys.clone().shadowing(other.clone());
        let passed = super::send(&layer, with_key(key)).await;
        assert!(passed.response.extensions().get::<Difference>().is_none());
    }
}

/// The layer itself counts as another check as well: from one store to the next.
#[test]
fn a_layer_may_stand_beside_another() {
    let old = tower_api_key::ApiKeyLayer::new(crate::stores::TestStore::new([record(KEY)]));
    let passed = send_now(&keys().shadowing(old.clone()), with_key(KEY));
    assert_eq!(passed.identity(), Some("key of the tests"));
    assert!(passed.response.extensions().get::<Difference>().is_none());
    let passed = send_now(&keys().shadowing(old), with_key(OTHER_KEY));
    assert_eq!(passed.response.status(), 401);
    assert!(passed.response.extensions().get::<Difference>().is_none());
}

/// A redirection to a login, or the answer to a preflight, is no denial.
#[test]
fn an_answer_that_denies_nothing_is_no_difference() {
    for status in [StatusCode::NO_CONTENT, StatusCode::SEE_OTHER] {
        for key in [KEY, OTHER_KEY] {
            let other = OtherCheck { keys: &[], denial: status };
            let passed = send_now(&keys().shadowing(other), with_key(key));
            assert_eq!(passed.response.status(), status);
            assert!(passed.response.extensions().get::<Difference>().is_none());
        }
    }
}

/// Where the layer's own status is another one for this request, it is compared.
#[test]
fn a_grpc_denial_has_the_status_of_one() {
    let grpc = |status| {
        let mut request = with_key(OTHER_KEY);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        let other = OtherCheck { keys: &[], denial: status };
        send_now(&keys().shadowing(other), request).response.extensions().get().copied()
    };
    assert_eq!(grpc(StatusCode::OK), None);
    assert_eq!(
        grpc(StatusCode::UNAUTHORIZED),
        Some(Difference::OtherStatus(StatusCode::UNAUTHORIZED))
    );
}
