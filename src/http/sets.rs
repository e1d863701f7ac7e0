//! `POST /revoke`, `POST /disable` and `POST /delete`: many keys at once

use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    body::{self, JsonBody},
    fields::sent,
    guard::Admitted,
};
use crate::{
    clock::Timestamp,
    key::KeyId,
    manage::{KeySet, ManageError, SetReport},
    rejection::Problem,
};

/// Which keys, and why. A `null` is refused: a client's empty variable must not widen the set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    #[serde(default, deserialize_with = "sent")]
    owner: Option<String>,
    #[serde(default, deserialize_with = "sent")]
    ids: Option<Vec<KeyId>>,
    #[serde(default, deserialize_with = "sent")]
    issued_before: Option<Timestamp>,
    reason: Option<String>,
}

/// The report on a set.
#[derive(Serialize)]
pub(super) struct Report {
    /// How many were changed.
    changed: usize,
    already_ended: Vec<KeyId>,
    unknown: Vec<KeyId>,
}

impl Set {
    fn read(body: &JsonBody) -> Result<(KeySet, Option<String>), Problem> {
        let Self { owner, ids, issued_before, reason } = body.object()?;
        Ok((KeySet { owner: owner.map(Into::into), ids, issued_before }, reason))
    }
}

fn reported(report: Result<SetReport, ManageError>) -> Result<Response, Problem> {
    let SetReport { changed, already_ended, unknown } = report?;
    let report = Report { changed: changed.len(), already_ended, unknown };
    Ok(body::json(StatusCode::OK, &report))
}

pub(super) async fn revoke(caller: Admitted, body: JsonBody) -> Result<Response, Problem> {
    let (set, reason) = Set::read(&body)?;
    reported(caller.keys.revoke_all(set, reason.as_deref()).await)
}

pub(super) async fn disable(caller: Admitted, body: JsonBody) -> Result<Response, Problem> {
    let (set, reason) = Set::read(&body)?;
    reported(caller.keys.disable_all(set, reason.as_deref()).await)
}

pub(super) async fn delete(caller: Admitted, body: JsonBody) -> Result<Response, Problem> {
    let (set, reason) = Set::read(&body)?;
    reported(caller.keys.delete_all(set, reason.as_deref()).await)
}
