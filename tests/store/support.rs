//! Requests through a layer, and what errors say.

use std::{convert::Infallible, error::Error};

use http::{Request, Response, StatusCode, header};
use tower::{ServiceBuilder, ServiceExt};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, KeyId, Rejection, RejectionKind};

/// How a request with this key ends: whose it is, or why it was denied.
pub(crate) async fn ask(layer: &ApiKeyLayer, key: &str) -> Result<KeyId, Rejection> {
    let service =
        ServiceBuilder::new().layer(layer).service_fn(|request: Request<()>| async move {
            let id = request.extensions().get::<AuthenticatedKey>().unwrap().id();
            let mut response = Response::new(String::new());
            response.extensions_mut().insert(id);
            Ok::<_, Infallible>(response)
        });
    let request = Request::builder().header("x-api-key", key).body(()).unwrap();
    let mut response = service.oneshot(request).await.unwrap();
    if let Some(rejection) = response.extensions_mut().remove::<Rejection>() {
        assert_eq!(response.status(), rejection.kind().status());
        if rejection.kind() == RejectionKind::Unavailable {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        }
        return Err(rejection);
    }
    assert_eq!(response.status(), StatusCode::OK);
    Ok(*response.extensions().get::<KeyId>().unwrap())
}

/// An error and all that caused it, as a log would have it.
pub(crate) fn texts(error: &dyn Error) -> String {
    let mut text = format!("{error}: {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
