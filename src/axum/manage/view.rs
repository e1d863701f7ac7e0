//! [`KeyView`] as a response.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::body;
use crate::{IssuedKey, KeyRecord, KeyView, Timestamp};

impl KeyView<'_> {
    fn headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        // Digits between quotes are a header's value.
        if let Ok(etag) = HeaderValue::try_from(tag(self.revision)) {
            headers.insert(header::ETAG, etag);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

impl IntoResponse for KeyView<'_> {
    fn into_response(self) -> Response {
        let mut response = body::json(StatusCode::OK, &self);
        self.headers(&mut response);
        response
    }
}

/// The answer to whoever created or rotated a key: the only one that holds the key itself.
#[derive(Serialize)]
pub(super) struct IssuedView<'r> {
    #[serde(flatten)]
    view: KeyView<'r>,
    key: &'r str,
}

/// 201, with the place of the new key below the path of the router.
pub(super) fn issued(issued: &IssuedKey, router: &str, now: Timestamp) -> Response {
    let view = KeyView::new(&issued.record, now);
    let body = IssuedView { view, key: issued.secret.expose() };
    let mut response = body::json(StatusCode::CREATED, &body);
    // A path that came in a request is a header's value.
    if let Ok(location) = HeaderValue::try_from(format!("{router}/{}", issued.record.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    body.view.headers(&mut response);
    response
}

/// The entity tag of a key.
pub(super) fn etag(record: &KeyRecord) -> String {
    tag(record.revision)
}

fn tag(revision: u64) -> String {
    format!("\"{revision}\"")
}
