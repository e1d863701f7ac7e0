//! [`AuditReport`]: what an audit found, for people and for code.

use std::{fmt, time::Duration};

use http::{Method, StatusCode};

use super::variant::Variant;
use crate::key::{RejectionKind, Scopes};

/// What a [guard audit](super::guard_audit) found. Its `Display` is a table of all operations, and a line
/// for each failure.
#[derive(Clone, Debug)]
#[must_use = "a report that is not read finds nothing: `assert_passed`"]
pub struct AuditReport {
    rows: Vec<AuditedRow>,
    failures: Vec<AuditFailure>,
    elapsed: Duration,
}

impl AuditReport {
    pub(super) fn new(
        rows: Vec<AuditedRow>,
        failures: Vec<AuditFailure>,
        elapsed: Duration,
    ) -> Self {
        Self { rows, failures, elapsed }
    }

    /// Whether every answer was right.
    pub fn has_passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Asserts that every answer was right.
    ///
    /// # Panics
    ///
    /// With the whole report, if one was not.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.has_passed(), "{self}");
    }

    /// What is wrong.
    pub fn failures(&self) -> &[AuditFailure] {
        &self.failures
    }

    /// The operations that were asked, and for each path a row for the methods that are not listed.
    pub fn rows(&self) -> &[AuditedRow] {
        &self.rows
    }

    /// How many requests were sent.
    pub fn requests(&self) -> usize {
        self.rows.iter().map(|row| row.requests).sum()
    }

    /// How long they took, one after the other.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

/// One row of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditedRow {
    /// `None`: the methods that are not listed.
    pub method: Option<Method>,
    /// The path, as it is listed.
    pub path: String,
    /// Its scopes, or another word for what it asks for.
    pub asks_for: String,
    /// How many requests were sent.
    pub requests: usize,
}

impl AuditedRow {
    pub(super) fn new(method: Option<&Method>, path: &str, asks_for: &str) -> Self {
        let (path, asks_for) = (path.to_owned(), asks_for.to_owned());
        Self { method: method.cloned(), path, asks_for, requests: 0 }
    }

    fn method(&self) -> &str {
        self.method.as_ref().map_or("*", Method::as_str)
    }
}

/// The method, or `*`, and the path.
impl fmt::Display for AuditedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method(), self.path)
    }
}

/// Something that is wrong: where, how it was asked for, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditFailure {
    /// The operation, such as `GET /orders/{id}`; `*` is a method that is not listed.
    pub operation: String,
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: String,
    /// The form of the request.
    pub variant: Variant,
    /// The key that was sent.
    pub sent: SentKey,
    /// What is wrong with the answer, or with the list.
    pub reason: AuditReason,
}

impl AuditFailure {
    /// One that no request shows.
    pub(super) fn of_list(row: &AuditedRow, reason: AuditReason) -> Self {
        Self {
            operation: row.to_string(),
            method: row.method.clone().unwrap_or_default(),
            path: row.path.clone(),
            variant: Variant::AsListed,
            sent: SentKey::None,
            reason,
        }
    }
}

impl fmt::Display for AuditFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, method, path, variant, sent, reason } = self;
        write!(f, "{operation}: ")?;
        if !reason.is_of_list() {
            write!(f, "{method} {path} {sent}")?;
            if *variant != Variant::AsListed {
                write!(f, " ({variant})")?;
            }
            f.write_str(": ")?;
        }
        reason.fmt(f)
    }
}

/// The key that a request was sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SentKey {
    /// None.
    None,
    /// One that no store knows.
    Unknown,
    /// A good one that has no scopes.
    WithoutScopes,
    /// One with the scopes that the operation asks for.
    WithScopes,
}

impl fmt::Display for SentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "without a key",
            Self::Unknown => "with an unknown key",
            Self::WithoutScopes => "with a key without scopes",
            Self::WithScopes => "with a key that has the scopes",
        })
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditReason {
    /// No layer denied it.
    LetIn {
        /// The answer.
        status: StatusCode,
    },
    /// A router, an extractor or a handler refused it before the layer did: the layer is missing, or it
    /// stands inside.
    CheckedTooLate {
        /// The answer.
        status: StatusCode,
    },
    /// 401 or 403 that is not this crate's.
    DeniedByAnother {
        /// The answer.
        status: StatusCode,
    },
    /// 401 without `WWW-Authenticate`.
    NoChallenge,
    /// Another denial than the right one, or one where there should be none.
    OtherDenial {
        /// The denial.
        kind: RejectionKind,
        /// The answer.
        status: StatusCode,
    },
    /// 403 for other scopes than those that are listed.
    OtherScopes {
        /// The scopes that the list has.
        listed: Scopes,
        /// The scopes that the denial names.
        missing: Scopes,
    },
    /// A layer is [in shadow](crate::ApiKeyLayer::shadow_until): it denies nothing for now.
    InShadow,
    /// The application failed.
    Failed {
        /// The answer.
        status: StatusCode,
    },
    /// The application's service is at an error.
    NoAnswer {
        /// The error, as `Debug` has it.
        error: String,
    },
    /// Scopes are listed, and the audit has [no keys](super::GuardAudit::with_keys) to ask with.
    NoKeys,
    /// What is named as public is not listed.
    NotListed,
    /// It is named as public, and its document says that it is guarded.
    PublicButGuarded,
    /// Its document says that it asks for nothing, and it is not named as public.
    OpenButNotPublic,
}

impl AuditReason {
    fn is_of_list(&self) -> bool {
        matches!(self, Self::NotListed | Self::PublicButGuarded | Self::OpenButNotPublic)
    }
}

impl fmt::Display for AuditReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LetIn { status } => write!(f, "let in ({status})"),
            Self::CheckedTooLate { status } => {
                write!(f, "checked too late: {status} came before a denial")
            }
            Self::DeniedByAnother { status } => {
                write!(f, "{status}, but not by a layer of this crate")
            }
            Self::NoChallenge => f.write_str("401 without `WWW-Authenticate`"),
            Self::OtherDenial { kind, status } => {
                write!(f, "denied as `{}` ({status})", kind.code())
            }
            Self::OtherScopes { listed, missing } => write!(
                f,
                "denied for lack of `{}`, but `{}` is listed",
                missing.as_str(),
                listed.as_str()
            ),
            Self::InShadow => f.write_str("a layer is in shadow: it denies nothing for now"),
            Self::Failed { status } => write!(f, "failed ({status})"),
            Self::NoAnswer { error } => write!(f, "no answer: {error}"),
            Self::NoKeys => f.write_str("no keys to ask with: add `with_keys`"),
            Self::NotListed => f.write_str("named as public, and not listed"),
            Self::PublicButGuarded => f.write_str("named as public, and documented as guarded"),
            Self::OpenButNotPublic => f.write_str("documented as open, and not named as public"),
        }
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "This audit walks what is listed: a route that is not listed is not seen.")?;
        let (requests, elapsed) = (self.requests(), self.elapsed.as_secs_f64() * 1e3);
        writeln!(f, "{} rows, {requests} requests, {elapsed:.1} ms", self.rows.len())?;
        let heading = ["method", "path", "asks for", "requests", "result"].map(str::to_owned);
        let mut table = vec![heading];
        table.extend(self.rows.iter().map(|row| self.cells(row)));
        let widths = [0, 1, 2, 3].map(|column| {
            table.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
        });
        for [method, path, asks_for, requests, result] in &table {
            let [first, second, third, fourth] = widths;
            writeln!(
                f,
                "{method:first$}  {path:second$}  {asks_for:third$}  {requests:>fourth$}  {result}"
            )?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        Ok(())
    }
}

impl AuditReport {
    fn cells(&self, row: &AuditedRow) -> [String; 5] {
        let operation = row.to_string();
        let has_failed = self.failures.iter().any(|failure| failure.operation == operation);
        let result = match row.requests {
            _ if has_failed => "FAILED",
            0 => "not asked",
            _ => "ok",
        };
        [row.method(), &row.path, &row.asks_for, &row.requests.to_string(), result]
            .map(str::to_owned)
    }
}
