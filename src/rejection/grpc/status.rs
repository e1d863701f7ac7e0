//! [`GrpcStatus`]: a denial as gRPC says it. A code, a message that names the missing scopes or the limit,
//! the details that programs read, and whether to try again.

use std::{fmt::Write, sync::LazyLock};

use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    GRPC_MESSAGE, GRPC_RETRY_PUSHBACK, GRPC_STATUS, GRPC_STATUS_DETAILS,
    encoding::{self, Details},
};
use crate::{
    key::{RejectionKind, Row, Scopes, TABLE, UNIFORM},
    rejection::Rejection,
    text::{base64, percent_encode},
};

/// Of the reasons in `ErrorInfo`. They are ours, whatever the service is called.
const DOMAIN: &str = "tower-api-key";

/// `INTERNAL`: the service itself is at fault.
const INTERNAL: u8 = 13;

/// The longest list of missing scopes, in bytes. Clients bound the headers of a response, some at 8 KiB in
/// all: the list is in the message, and with the message in the details.
const MAX_LISTED: usize = 512;

/// For a client that tries again by itself: never. A number below zero says so (gRFC A6).
const NEVER: i32 = -1;

/// The longest time that a client is asked to wait by itself. `Retry-After` and `RetryInfo` tell a longer one
/// to the program, which may try again later.
const MAX_PUSHBACK_SECONDS: u64 = 60;

/// The status of a denial.
#[derive(Debug)]
pub(in crate::rejection) struct GrpcStatus {
    pub(in crate::rejection) code: u8,
    pub(in crate::rejection) message: String,
    /// A serialised `google.rpc.Status`; nothing for a mistake of the program.
    pub(in crate::rejection) details: Vec<u8>,
    /// After how many milliseconds a client tries again by itself, or [`NEVER`]. `None` leaves it to the
    /// client.
    pub(in crate::rejection) pushback: Option<i32>,
}

/// Headers of a response that is nothing but trailers.
pub(super) type Trailers = Vec<(HeaderName, HeaderValue)>;

impl GrpcStatus {
    /// Of a denial. `own` is the rejection, unless nothing of its own is to be told.
    pub(in crate::rejection) fn of(row: &Row, own: Option<&Rejection>) -> Self {
        let said = own.map(Said::of).unwrap_or_default();
        let message = [row.code, ": ", row.detail, &said.remark].concat();
        let retry_after = own.and_then(Rejection::retry_after_seconds);
        let details = Details {
            reason: row.code,
            domain: DOMAIN,
            metadata: said.metadata,
            retry_after,
            exhausted: said.exhausted,
        };
        let details = encoding::status(row.grpc, &message, &details);
        Self { code: row.grpc, message, details, pushback: pushback(row, retry_after) }
    }

    /// Of a mistake in the program, which another try does not mend.
    pub(in crate::rejection) fn of_mistake(what_to_do: &str) -> Self {
        let message = what_to_do.trim_end().to_owned();
        Self { code: INTERNAL, message, details: Vec::new(), pushback: Some(NEVER) }
    }

    pub(super) fn trailers(&self) -> Trailers {
        let message = HeaderValue::try_from(encoded(&self.message)).ok();
        let details = (!self.details.is_empty())
            .then(|| HeaderValue::try_from(base64(&self.details)).ok())
            .flatten();
        let pushback = self.pushback.map(HeaderValue::from);
        let code = HeaderValue::from(u16::from(self.code));
        [
            (GRPC_STATUS, Some(code)),
            (GRPC_MESSAGE, message),
            (GRPC_STATUS_DETAILS, details),
            (GRPC_RETRY_PUSHBACK, pushback),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// When a client that tries again by itself does so.
///
/// Where too many requests came or a back end does not answer, it waits as long as `Retry-After` says, and
/// as its own policy does where nothing says how long. Beyond [`MAX_PUSHBACK_SECONDS`] it does not: a client
/// would hold the call, and all that the call holds, for as long. Credits that do not come back, and every
/// other denial, are the same the next time.
fn pushback(row: &Row, retry_after: Option<u64>) -> Option<i32> {
    let may_pass = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let may_pass = may_pass.contains(&row.status);
    match retry_after {
        Some(seconds @ 0..=MAX_PUSHBACK_SECONDS) if may_pass => {
            i32::try_from(seconds * 1_000).ok().or(Some(NEVER))
        }
        None if may_pass && row.kind != RejectionKind::CreditsExhausted => None,
        _ => Some(NEVER),
    }
}

/// All that a rejection says beside its kind.
#[derive(Default)]
struct Said {
    /// For the message.
    remark: String,
    /// In alphabetical order.
    metadata: Vec<(&'static str, String)>,
    /// The subject and the description of a violated quota.
    exhausted: Option<(String, &'static str)>,
}

impl Said {
    fn of(rejection: &Rejection) -> Self {
        if let Some(missing) = rejection.missing_scopes().filter(|missing| !missing.is_empty()) {
            return Self::missing(missing);
        }
        let (limit, credits) = (rejection.limit(), rejection.credits_remaining());
        let (remark, metadata) = match (limit, credits) {
            (Some(limit), _) => (format!(" Limit: {limit}."), vec![("limit", limit.to_owned())]),
            (None, Some(left)) => {
                (format!(" Credits left: {left}."), vec![("credits_remaining", left.to_string())])
            }
            (None, None) => Default::default(),
        };
        let subject = match (rejection.kind, limit) {
            (RejectionKind::RateLimited, Some(limit)) => Some(format!("limit:{limit}")),
            (RejectionKind::RateLimited, None) => Some("limit".to_owned()),
            (RejectionKind::CreditsExhausted, _) => Some("credits".to_owned()),
            _ => None,
        };
        let exhausted = subject.map(|subject| (subject, rejection.kind.detail()));
        Self { remark, metadata, exhausted }
    }

    fn missing(missing: &Scopes) -> Self {
        let listed = listed(missing);
        let mut metadata = vec![("missing_scopes", listed.to_owned())];
        let mut remark = format!(" Missing: {}", listed.replace(' ', ", "));
        let left_out = missing.len() - listed.split(' ').count();
        if left_out > 0 {
            // Writing to a `String` cannot fail.
            let _ = write!(remark, ", and {left_out} more");
            metadata.push(("missing_scopes_left_out", left_out.to_string()));
        }
        remark.push('.');
        Self { remark, metadata, exhausted: None }
    }
}

/// As many of the scopes, with a space between them, as there is room for. No scope is as long as that, so
/// there is always one.
fn listed(missing: &Scopes) -> &str {
    let all = missing.as_str();
    if all.len() <= MAX_LISTED {
        return all;
    }
    let end = all.as_bytes()[..=MAX_LISTED].iter().rposition(|byte| *byte == b' ');
    &all[..end.unwrap_or(MAX_LISTED)]
}

/// Whether all the missing scopes are named.
pub(in crate::rejection) fn names_all(missing: &Scopes) -> bool {
    missing.as_str().len() <= MAX_LISTED
}

/// The trailers of a denial: those of most kinds are made once, and their clones count nothing.
pub(super) fn trailers(row: &'static Row, own: Option<&Rejection>) -> Trailers {
    static PLAIN: LazyLock<Vec<Trailers>> = LazyLock::new(|| {
        let rows = TABLE.iter().chain([UNIFORM]);
        rows.map(|row| GrpcStatus::of(row, None).trailers().into_iter().map(kept).collect())
            .collect()
    });
    match own {
        None => PLAIN[TABLE.len()].clone(),
        Some(own) if says_more(own) => GrpcStatus::of(row, Some(own)).trailers(),
        Some(_) => PLAIN[row.kind as usize].clone(),
    }
}

/// Whether a rejection says more than those of its kind all do.
fn says_more(rejection: &Rejection) -> bool {
    let is_quota = [RejectionKind::RateLimited, RejectionKind::CreditsExhausted];
    rejection.retry_after.is_some()
        || rejection.missing_scopes.is_some()
        || is_quota.contains(&rejection.kind)
}

/// The same for as long as the program runs.
fn kept((name, value): (HeaderName, HeaderValue)) -> (HeaderName, HeaderValue) {
    let kept = value.to_str().map(|text| HeaderValue::from_static(text.to_owned().leak()));
    (name, kept.unwrap_or(value))
}

/// As the gRPC protocol asks: all but 0x20–0x7E, and `%` itself.
fn encoded(message: &str) -> String {
    percent_encode(message, |byte| matches!(byte, 0x20..0x7f) && byte != b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encoded("code: 50 % é\n"), "code: 50 %25 %C3%A9%0A");
    }

    /// Made once or for this denial, a status is the same.
    #[test]
    fn what_is_made_once_is_what_would_be_made() {
        for row in TABLE {
            let rejection = Rejection::new(row.kind);
            let made = GrpcStatus::of(row, Some(&rejection)).trailers();
            assert_eq!(trailers(row, Some(&rejection)), made, "{:?}", row.kind);
        }
        assert_eq!(trailers(UNIFORM, None), GrpcStatus::of(UNIFORM, None).trailers());
    }
}
