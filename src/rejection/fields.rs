//! The names of the response fields that report a limit.

use http::{HeaderName, header::RETRY_AFTER};

pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Of our own: no standard has a name for it.
pub(crate) const CREDITS: HeaderName = HeaderName::from_static("credits-remaining");
pub(crate) const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Whether a response field reports a limit of a key, and so that the key exists.
pub(super) fn reports_limit(name: &HeaderName) -> bool {
    [POLICY, LIMIT, CREDITS, LEGACY_LIMIT, LEGACY_REMAINING, LEGACY_RESET, RETRY_AFTER]
        .contains(name)
}
