//! A key as the outside sees it: everything but its digest.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tower_api_key::{
    Clock, IssuedKey, KeyId, KeyRecord, Metadata, OwnerId, Scopes, SystemClock, Timestamp,
};

#[derive(Serialize)]
pub(crate) struct KeyView<'r> {
    id: KeyId,
    name: &'r str,
    start: &'r str,
    description: Option<&'r str>,
    owner: Option<&'r OwnerId>,
    scopes: &'r Scopes,
    status: &'static str,
    disabled: bool,
    tier: Option<&'r str>,
    metadata: &'r Metadata,
    allowed_addresses: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    use_count: u64,
    revoked_at: Option<Timestamp>,
    revoked_reason: Option<&'r str>,
}

impl<'r> From<&'r KeyRecord> for KeyView<'r> {
    fn from(record: &'r KeyRecord) -> Self {
        Self {
            id: record.id,
            name: &record.name,
            start: &record.start,
            description: record.details.description.as_deref(),
            owner: record.owner.as_ref(),
            scopes: &record.scopes,
            status: record.status(SystemClock.now()).as_str(),
            disabled: record.disabled,
            tier: record.details.tier.as_deref(),
            metadata: &record.details.metadata,
            allowed_addresses: record
                .details
                .allowed_addresses
                .iter()
                .map(ToString::to_string)
                .collect(),
            created_at: record.created_at,
            updated_at: record.updated_at,
            not_before: record.not_before,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
            use_count: record.use_count,
            revoked_at: record.revoked_at,
            revoked_reason: record.details.revoked_reason.as_deref(),
        }
    }
}

/// The answer with one key. Its `ETag` is the revision, for `If-Match`.
pub(crate) fn key(record: &KeyRecord) -> Response {
    ([(header::ETAG, etag(record))], Json(KeyView::from(record))).into_response()
}

/// The answer to whoever created a key: the only one that holds the key itself.
pub(crate) fn issued(issued: &IssuedKey) -> Response {
    #[derive(Serialize)]
    struct Issued<'r> {
        #[serde(flatten)]
        view: KeyView<'r>,
        key: &'r str,
    }
    let record = &issued.record;
    let body = Issued { view: KeyView::from(&**record), key: issued.secret.expose() };
    let headers = [
        (header::LOCATION, format!("/admin/api-keys/{}", record.id)),
        (header::ETAG, etag(record)),
    ];
    (StatusCode::CREATED, headers, Json(body)).into_response()
}

pub(crate) fn etag(record: &KeyRecord) -> String {
    format!("\"{}\"", record.revision)
}

/// Nothing about keys belongs in a cache, least of all a new one.
pub(crate) async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
