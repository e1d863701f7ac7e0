//! `POST /revoke`, `POST /disable` and `POST /delete`: many keys at once

use axum::response::Response;
use http::StatusCode;

use super::{
    body::{self, JsonBody},
    guard::Admitted,
};
use crate::{
    clock::Timestamp,
    key::KeyId,
    manage::{KeySet, ManageError, SetReport},
    object::{read_object, write_object},
    rejection::Problem,
};

/// Which keys, and why. A `null` is refused: a client's empty variable must not widen the set.
pub(super) struct Set {
    owner: Option<String>,
    ids: Option<Vec<KeyId>>,
    issued_before: Option<Timestamp>,
    reason: Option<String>,
}

read_object!(Set { owner: sent, ids: sent, issued_before: sent, reason: default });

/// The report on a set.
pub(super) struct Report {
    /// How many were changed.
    changed: usize,
    already_ended: Vec<KeyId>,
    unknown: Vec<KeyId>,
}

write_object!(Report { changed, already_ended, unknown });

/// The report on keys that were revoked by the time of their creation.
pub(super) struct ReportByTime {
    report: Report,
    /// Whether there are more of them than were changed so far.
    pending: bool,
    static_keys: &'static str,
}

write_object!(ReportByTime { ..report, pending, static_keys });

impl Set {
    fn read(body: &JsonBody) -> Result<(KeySet, Option<String>), Problem> {
        let Self { owner, ids, issued_before, reason } = body.object()?;
        Ok((KeySet { owner: owner.map(Into::into), ids, issued_before }, reason))
    }
}

impl From<SetReport> for Report {
    fn from(report: SetReport) -> Self {
        let SetReport { changed, already_ended, unknown, .. } = report;
        Self { changed: changed.len(), already_ended, unknown }
    }
}

fn reported(report: Result<SetReport, ManageError>) -> Result<Response, Problem> {
    Ok(body::json(StatusCode::OK, &Report::from(report?)))
}

pub(super) async fn revoke(caller: Admitted, body: JsonBody) -> Result<Response, Problem> {
    let (set, reason) = Set::read(&body)?;
    let is_by_time = set.ids.is_none() && set.issued_before.is_some();
    let report = caller.keys.revoke_all(set, reason.as_deref()).await;
    if !is_by_time {
        return reported(report);
    }
    let report = report?;
    let pending = report.is_pending;
    let report = ReportByTime { report: report.into(), pending, static_keys: "untouched" };
    Ok(body::json(StatusCode::OK, &report))
}

pub(super) async fn disable(caller: Admitted, body: JsonBody) -> Result<Response, Problem> {
    let (set, reason) = Set::read(&body)?;
    reported(caller.keys.disable_all(set, reason.as_deref()).await)
}

pub(super) async fn delete(caller: Admitted, body: JsonBody) -> Result<Response, Problem> {
    let (set, reason) = Set::read(&body)?;
    reported(caller.keys.delete_all(set, reason.as_deref()).await)
}
