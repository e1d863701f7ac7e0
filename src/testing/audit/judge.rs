//! The right answer, or what is wrong with it.

use http::{
    Method, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, WWW_AUTHENTICATE},
    response::Parts,
};

use super::{
    plan::{Expected, Probe},
    report::{AuditFailure, AuditReason, AuditedRow},
};
use crate::{auth::shadow::InShadow, key::RejectionKind, rejection::Rejection};

impl Probe {
    /// Only a denial of this crate counts as one, and none where a layer denies nothing for now.
    pub(super) fn judge(
        &self,
        response: &Parts,
        has_cors_outside: bool,
    ) -> Result<(), AuditReason> {
        if response.extensions.get::<InShadow>().is_some() {
            return Err(AuditReason::InShadow);
        }
        let status = response.status;
        let denial = response.extensions.get::<Rejection>();
        match (self.expected, denial) {
            (Expected::NoGoodKey, Some(denial)) => no_good_key(denial, response),
            (Expected::LacksScopes, Some(denial)) => self.lacks_scopes(denial, status),
            (Expected::NoMethod | Expected::NoRoute, Some(_)) => Ok(()),
            (Expected::NoMethod, None) if status == StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            (Expected::NoRoute, None) if is_no_route(status) => Ok(()),
            (Expected::NoMethod | Expected::NoRoute, None)
                if has_cors_outside && self.method == Method::OPTIONS && is_of_cors(response) =>
            {
                Ok(())
            }
            (Expected::LetIn, Some(denial)) => {
                Err(AuditReason::OtherDenial { kind: denial.kind(), status })
            }
            (Expected::LetIn, None) => match undenied(status) {
                reason @ (AuditReason::DeniedByAnother { .. } | AuditReason::Failed { .. }) => {
                    Err(reason)
                }
                _ => Ok(()),
            },
            (_, None) => Err(undenied(status)),
        }
    }

    fn lacks_scopes(&self, denial: &Rejection, status: StatusCode) -> Result<(), AuditReason> {
        if denial.kind() != RejectionKind::InsufficientScope || status != StatusCode::FORBIDDEN {
            return Err(AuditReason::OtherDenial { kind: denial.kind(), status });
        }
        let missing = denial.missing_scopes().cloned().unwrap_or_default();
        if missing != self.scopes {
            return Err(AuditReason::OtherScopes { listed: self.scopes.clone(), missing });
        }
        Ok(())
    }

    pub(super) fn failure(&self, row: &AuditedRow, reason: AuditReason) -> AuditFailure {
        AuditFailure {
            operation: row.to_string(),
            method: self.method.clone(),
            path: self.path.clone(),
            variant: self.variant,
            sent: self.sent,
            reason,
        }
    }
}

fn no_good_key(denial: &Rejection, response: &Parts) -> Result<(), AuditReason> {
    if response.status != StatusCode::UNAUTHORIZED {
        return Err(AuditReason::OtherDenial { kind: denial.kind(), status: response.status });
    }
    if !response.headers.contains_key(WWW_AUTHENTICATE) {
        return Err(AuditReason::NoChallenge);
    }
    Ok(())
}

fn is_no_route(status: StatusCode) -> bool {
    status.is_redirection()
        || status == StatusCode::NOT_FOUND
        || status == StatusCode::METHOD_NOT_ALLOWED
}

/// Whether a CORS layer has answered, by the headers that only answers to preflights have.
fn is_of_cors(response: &Parts) -> bool {
    let headers = [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS];
    response.status.is_success() && headers.iter().any(|name| response.headers.contains_key(name))
}

/// What an answer means that no layer of this crate has denied.
fn undenied(status: StatusCode) -> AuditReason {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AuditReason::DeniedByAnother { status },
        _ if status.is_client_error() => AuditReason::CheckedTooLate { status },
        _ if status.is_server_error() => AuditReason::Failed { status },
        _ => AuditReason::LetIn { status },
    }
}
