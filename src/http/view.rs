//! [`KeyView`] as a response.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::body;
use crate::{
    clock::Timestamp,
    key::{Balance, KeyRecord},
    manage::{IssuedKey, KeyManager, KeyView},
    object::write_object,
    rejection::Problem,
};

impl KeyView<'_> {
    pub(super) fn headers(&self, response: &mut Response) {
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

/// The credits of a key's lineage, if it spends any.
pub(super) async fn balance(
    keys: &KeyManager,
    record: &Arc<KeyRecord>,
) -> Result<Option<Balance>, Problem> {
    let balances = keys.balances_of(std::slice::from_ref(record)).await?;
    Ok(balances.into_iter().next().flatten())
}

/// A key as it is now, with the credits of its lineage.
pub(super) async fn shown(keys: &KeyManager, record: &Arc<KeyRecord>) -> Result<Response, Problem> {
    let balance = balance(keys, record).await?;
    Ok(KeyView::new(record, keys.now()).with_balance(balance.as_ref()).into_response())
}

/// The answer to a creation or a rotation: the only one that holds the key itself.
pub(super) struct IssuedView<'r> {
    view: KeyView<'r>,
    key: &'r str,
}

write_object!(IssuedView<'_> { ..view, key });

/// 201, with the place of the new key below the path of the router.
pub(super) fn issued(issued: &IssuedKey, router: &str, now: Timestamp) -> Response {
    let view = KeyView::new(&issued.record, now).with_balance(issued.balance.as_ref());
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

/// The revision that an entity tag of ours names.
pub(super) fn revision_of(entity_tag: &str) -> Option<u64> {
    let revision = entity_tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    (tag(revision) == entity_tag).then_some(revision)
}
