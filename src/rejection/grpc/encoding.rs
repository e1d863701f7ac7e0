//! The messages of `google.rpc` that tell the details of a denial, in the wire format of protocol buffers,
//! which `grpc-status-details-bin` holds.

use crate::protobuf::{bytes, nested, number, text};

/// The details of a denial.
#[derive(Debug, Default)]
pub(super) struct Details<'d> {
    /// Of `ErrorInfo`, with the domain in which it is unique.
    pub(super) reason: &'d str,
    pub(super) domain: &'d str,
    pub(super) metadata: Vec<(&'static str, String)>,
    /// Of `RetryInfo`, in seconds.
    pub(super) retry_after: Option<u64>,
    /// The one violation of `QuotaFailure`: its subject and its description.
    pub(super) exhausted: Option<(String, &'d str)>,
}

/// A serialised `google.rpc.Status`.
pub(super) fn status(code: u8, message: &str, details: &Details<'_>) -> Vec<u8> {
    let mut status = Vec::new();
    number(&mut status, 1, code.into());
    text(&mut status, 2, message);
    if let Some(seconds) = details.retry_after {
        any(&mut status, "RetryInfo", &retry_info(seconds));
    }
    if let Some((subject, description)) = &details.exhausted {
        any(&mut status, "QuotaFailure", &quota_failure(subject, description));
    }
    any(&mut status, "ErrorInfo", &error_info(details));
    status
}

/// Another `google.protobuf.Any` of the status.
fn any(status: &mut Vec<u8>, name: &str, message: &[u8]) {
    let mut any = Vec::new();
    text(&mut any, 1, &["type.googleapis.com/google.rpc.", name].concat());
    bytes(&mut any, 2, message);
    nested(status, 3, &any);
}

/// The longest `google.protobuf.Duration`, some 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

fn retry_info(seconds: u64) -> Vec<u8> {
    let (mut info, mut delay) = (Vec::new(), Vec::new());
    number(&mut delay, 1, seconds.min(MAX_SECONDS));
    nested(&mut info, 1, &delay);
    info
}

fn quota_failure(subject: &str, description: &str) -> Vec<u8> {
    let (mut failure, mut violation) = (Vec::new(), Vec::new());
    text(&mut violation, 1, subject);
    text(&mut violation, 2, description);
    nested(&mut failure, 1, &violation);
    failure
}

fn error_info(details: &Details<'_>) -> Vec<u8> {
    let mut info = Vec::new();
    text(&mut info, 1, details.reason);
    text(&mut info, 2, details.domain);
    for (name, value) in &details.metadata {
        let mut entry = Vec::new();
        text(&mut entry, 1, name);
        text(&mut entry, 2, value);
        nested(&mut info, 3, &entry);
    }
    info
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, HashMap},
        fmt::Debug,
        time::Duration,
    };

    use proptest::prelude::*;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn messages(details: &ErrorDetails) -> impl PartialEq + Debug + use<> {
        let info = details.error_info().cloned();
        let info = info.map(|info| (info.reason, info.domain, BTreeMap::from_iter(info.metadata)));
        let retry = details.retry_info().map(|info| info.retry_delay);
        let quota = details.quota_failure().map(|failure| format!("{failure:?}"));
        (info, retry, quota)
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![".{0,8}", ".{120,140}", Just("x".repeat(20_000))]
    }

    proptest! {
        /// As another library reads the messages, and, but for the order of metadata, as it writes them.
        #[test]
        fn messages_are_those_of_a_library(
            code in 0..17_u8,
            [message, reason, domain, one, other] in [texts(), texts(), texts(), texts(), texts()],
            number_of_texts in 0..3_usize,
            retry_after in proptest::option::of(0..=MAX_SECONDS),
            exhausted in proptest::option::of((texts(), texts())),
        ) {
            let metadata = [("one", one), ("other", other)].into_iter().take(number_of_texts);
            let metadata: Vec<_> = metadata.collect();
            let named = metadata.iter().map(|(name, text)| ((*name).to_owned(), text.clone()));
            let named: HashMap<_, _> = named.collect();
            let mut expected = ErrorDetails::with_error_info(&reason, &domain, named);
            if let Some(seconds) = retry_after {
                expected.set_retry_info(Some(Duration::from_secs(seconds)));
            }
            if let Some((subject, description)) = &exhausted {
                expected.add_quota_failure_violation(subject, description);
            }
            let exhausted = exhausted.as_ref().map(|(subject, text)| (subject.clone(), &**text));
            let details = Details { reason: &reason, domain: &domain, metadata, retry_after, exhausted };
            let written = status(code, &message, &details);
            let code = tonic::Code::from(i32::from(code));
            let read = tonic::Status::with_details(code, &message, written.clone().into());
            prop_assert_eq!(messages(&read.check_error_details().unwrap()), messages(&expected));
            if number_of_texts < 2 {
                let theirs = tonic::Status::with_error_details(code, &message, expected);
                prop_assert_eq!(theirs.details(), written);
            }
        }
    }

    /// Longer than a `Duration` may be.
    #[test]
    fn waits_are_bounded() {
        assert_eq!(retry_info(u64::MAX), retry_info(MAX_SECONDS));
    }
}
