//! [`RejectionKind`]: the reasons, and the one table that says what each means over HTTP, over
//! gRPC and in a challenge.

use http::StatusCode;

/// Why a request was denied.
///
/// | kind | HTTP | gRPC | code | error in the challenge |
/// |---|---|---|---|---|
/// | `Missing` | 401 | 16 | `missing_key` | – |
/// | `Ambiguous` | 400 | 3 | `ambiguous_key` | `invalid_request` |
/// | `Malformed` | 401 | 16 | `malformed_key` | `invalid_token` |
/// | `Unknown` | 401 | 16 | `unknown_key` | `invalid_token` |
/// | `Revoked` | 401 | 16 | `revoked_key` | `invalid_token` |
/// | `Disabled` | 401 | 16 | `disabled_key` | `invalid_token` |
/// | `NotYetValid` | 401 | 16 | `not_yet_valid_key` | `invalid_token` |
/// | `Expired` | 401 | 16 | `expired_key` | `invalid_token` |
/// | `InactiveOwner` | 401 | 16 | `inactive_owner` | `invalid_token` |
/// | `InsecureTransport` | 403 | 7 | `insecure_transport` | – |
/// | `AddressNotAllowed` | 403 | 7 | `address_not_allowed` | – |
/// | `InsufficientScope` | 403 | 7 | `insufficient_scope` | `insufficient_scope` |
/// | `CrossSite` | 403 | 7 | `cross_site_request` | – |
/// | `ForwardAuthRefused` | 403 | 7 | `forward_auth_refused` | – |
/// | `RateLimited` | 429 | 8 | `rate_limited` | – |
/// | `CreditsExhausted` | 429 | 8 | `credits_exhausted` | – |
/// | `TooManyFailures` | 429 | 8 | `too_many_failures` | – |
/// | `Unavailable` | 503 | 14 | `store_unavailable` | – |
/// | `Overloaded` | 503 | 14 | `lookup_overloaded` | – |
/// | `LimiterUnavailable` | 503 | 14 | `limiter_unavailable` | – |
///
/// Every 401 and `insufficient_scope` carries a `WWW-Authenticate` challenge for each family of
/// sources; `Ambiguous` too, with `invalid_request` (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No configured source holds a key.
    Missing,
    /// More than one credential was sent.
    Ambiguous,
    /// The credential is not a key of an accepted format.
    Malformed,
    /// No such key.
    Unknown,
    /// The key was withdrawn for good.
    Revoked,
    /// The key is switched off for now.
    Disabled,
    /// The key's `not_before` is still to come.
    NotYetValid,
    /// The key's `expires_at` has come.
    Expired,
    /// The key's owner is unknown or inactive.
    InactiveOwner,
    /// The request came unencrypted and the layer requires encryption.
    InsecureTransport,
    /// The client's address is not among those the key may be used from.
    AddressNotAllowed,
    /// The key lacks a scope that the route requires.
    InsufficientScope,
    /// Another site had a browser send the request, with a credential that browsers send along by
    /// themselves; see [`KeySource::cookie`](crate::KeySource::cookie).
    CrossSite,
    /// A [`ForwardAuth`](crate::forward_auth::ForwardAuth) service decides on no such request: it came from
    /// a peer that is no proxy of the service, its target is not in normal form, or no rule names it.
    ForwardAuthRefused,
    /// A rate limit of the key is used up.
    RateLimited,
    /// The key's credits are used up.
    CreditsExhausted,
    /// Too many failed attempts from this client.
    TooManyFailures,
    /// The store could not tell, or the resolver of owners.
    Unavailable,
    /// Too many requests wait, or the lookup budget is spent: the back end was not asked.
    Overloaded,
    /// The rate limiter could not tell, and the layer
    /// [fails closed](crate::limit::OutagePolicy::FailClosed).
    LimiterUnavailable,
}

/// A row of the table: what a kind means to the outside.
pub(crate) struct Row {
    pub(crate) kind: RejectionKind,
    pub(crate) status: StatusCode,
    pub(crate) grpc: u8,
    pub(crate) code: &'static str,
    /// The error code of RFC 6750 §3.1 for the challenge.
    pub(crate) challenge_error: Option<ChallengeError>,
    /// What the caller can do about it.
    pub(crate) detail: &'static str,
}

/// The error codes of RFC 6750 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChallengeError {
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
}

impl ChallengeError {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// Everything that a kind means is stated here once.
#[rustfmt::skip] // A table reads as a table.
pub(crate) const TABLE: &[Row] = {
    use ChallengeError::{InsufficientScope as SCOPE, InvalidRequest as REQUEST, InvalidToken as TOKEN};
    use RejectionKind as K;
    use StatusCode as S;
    &[
        row(K::Missing,           S::UNAUTHORIZED,         16, "missing_key",         None,          "Send an API key with the request."),
        row(K::Ambiguous,         S::BAD_REQUEST,           3, "ambiguous_key",       Some(REQUEST), "Send exactly one API key, in one place."),
        row(K::Malformed,         S::UNAUTHORIZED,         16, "malformed_key",       Some(TOKEN),   "This is not an API key of this service. Check that it was copied whole."),
        row(K::Unknown,           S::UNAUTHORIZED,         16, "unknown_key",         Some(TOKEN),   "This API key does not exist. Check that it belongs to this service and environment."),
        row(K::Revoked,           S::UNAUTHORIZED,         16, "revoked_key",         Some(TOKEN),   "This API key was revoked. Use another one."),
        row(K::Disabled,          S::UNAUTHORIZED,         16, "disabled_key",        Some(TOKEN),   "This API key is disabled. Ask its owner to enable it, or use another one."),
        row(K::NotYetValid,       S::UNAUTHORIZED,         16, "not_yet_valid_key",   Some(TOKEN),   "This API key is not valid yet. Try again later, or use another one."),
        row(K::Expired,           S::UNAUTHORIZED,         16, "expired_key",         Some(TOKEN),   "This API key has expired. Use a new one."),
        row(K::InactiveOwner,     S::UNAUTHORIZED,         16, "inactive_owner",      Some(TOKEN),   "The owner of this API key is not active."),
        row(K::InsecureTransport, S::FORBIDDEN,             7, "insecure_transport",  None,          "Use HTTPS. If an API key was sent, consider it exposed and replace it."),
        row(K::AddressNotAllowed, S::FORBIDDEN,             7, "address_not_allowed", None,          "This API key may not be used from this address."),
        row(K::InsufficientScope, S::FORBIDDEN,             7, "insufficient_scope",  Some(SCOPE),   "This API key may not do this. Use one with the required scopes."),
        row(K::CrossSite,         S::FORBIDDEN,             7, "cross_site_request",  None,          "This request came from another site. Send it from the service's own pages, or with the API key in a header."),
        row(K::ForwardAuthRefused, S::FORBIDDEN,            7, "forward_auth_refused", None,         "No API key opens this target, or it is not written in its normal form."),
        row(K::RateLimited,       S::TOO_MANY_REQUESTS,     8, "rate_limited",        None,          "This API key has made too many requests. Wait before trying again."),
        row(K::CreditsExhausted,  S::TOO_MANY_REQUESTS,     8, "credits_exhausted",   None,          "This API key has no credits left."),
        row(K::TooManyFailures,   S::TOO_MANY_REQUESTS,     8, "too_many_failures",   None,          "Too many failed attempts. Wait before trying again."),
        row(K::Unavailable,       S::SERVICE_UNAVAILABLE,  14, "store_unavailable",   None,          "The API key cannot be checked right now. It may well be good: try again later."),
        row(K::Overloaded,        S::SERVICE_UNAVAILABLE,  14, "lookup_overloaded",   None,          "Too many requests are being checked right now. Try again later."),
        row(K::LimiterUnavailable, S::SERVICE_UNAVAILABLE, 14, "limiter_unavailable", None,          "The limits of this API key cannot be checked right now. Try again later."),
    ]
};

/// What [`with_uniform_denials`](crate::ApiKeyLayer::with_uniform_denials) answers for every kind
/// that is about a bad key.
pub(crate) const UNIFORM: &Row = &row(
    RejectionKind::Unknown,
    StatusCode::UNAUTHORIZED,
    16,
    "invalid_key",
    Some(ChallengeError::InvalidToken),
    "This API key is not valid.",
);

const fn row(
    kind: RejectionKind,
    status: StatusCode,
    grpc: u8,
    code: &'static str,
    challenge_error: Option<ChallengeError>,
    detail: &'static str,
) -> Row {
    Row { kind, status, grpc, code, challenge_error, detail }
}

// `kind.row()` indexes the table by discriminant: check at compile time that the order agrees.
const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(
            TABLE[index].kind as usize == index,
            "the table must follow the order of the kinds"
        );
        index += 1;
    }
    assert!(TABLE.len() == RejectionKind::LimiterUnavailable as usize + 1, "a kind without a row");
};

impl RejectionKind {
    /// How many there are.
    #[cfg(feature = "tracing")]
    pub(crate) const COUNT: usize = TABLE.len();

    /// Every kind, in the order of the table.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|row| row.kind)
    }

    /// Whether it is about the key that was sent and is no use here: what
    /// [`with_uniform_denials`](crate::ApiKeyLayer::with_uniform_denials) answers alike. Were one
    /// of them told apart, such as a good key from the wrong address, a thief would learn that a
    /// key is good.
    pub(crate) fn is_of_a_bad_key(self) -> bool {
        self == Self::AddressNotAllowed
            || self.row().challenge_error == Some(ChallengeError::InvalidToken)
    }

    pub(crate) const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// The gRPC status code.
    pub const fn grpc_status(self) -> u8 {
        self.row().grpc
    }

    /// The machine-readable `code` in the problem body, such as `expired_key`.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The remedy for the caller, in a sentence.
    pub const fn detail(self) -> &'static str {
        self.row().detail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_repeats_the_table() {
        let rows = TABLE.iter().map(|row| {
            let error = row.challenge_error.map(|error| format!("`{}`", error.as_str()));
            let error = error.as_deref().unwrap_or("–");
            let Row { kind, status, grpc, code, .. } = row;
            format!("/// | `{kind:?}` | {} | {grpc} | `{code}` | {error} |", status.as_u16())
        });
        let documented =
            include_str!("rejection_kind.rs").lines().filter(|line| line.starts_with("/// | `"));
        assert_eq!(documented.collect::<Vec<_>>(), rows.collect::<Vec<_>>());
    }
}
