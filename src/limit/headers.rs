//! 12. Response headers that tell a caller how its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10: structured
//! fields (RFC 9651) with one member, the limit that is nearest to exhaustion.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Limit, Limits, Standing};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Of our own: no standard has a name for it.
const CREDITS: HeaderName = HeaderName::from_static("credits-remaining");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which fields are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    None,
    Draft,
    DraftAndLegacy,
}

/// What a request has consumed, for its response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Consumption {
    pub(crate) rate: Option<LimitReport>,
    /// What is left of the credits, for a key that spends some.
    pub(crate) credits: Option<u64>,
}

impl Consumption {
    #[inline]
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if let Some(rate) = &self.rate {
            rate.apply(headers);
        }
        if let Some(left) = self.credits {
            headers.entry(CREDITS).or_insert_with(|| HeaderValue::from(left));
        }
    }
}

/// How the limit of a request stands, for its response.
#[derive(Clone, Debug)]
pub struct LimitReport {
    limits: Limits,
    standing: Standing,
    fields: Fields,
}

impl LimitReport {
    #[inline]
    pub(crate) fn new(limits: &Limits, standing: Standing, fields: Fields) -> Self {
        Self { limits: limits.clone(), standing, fields }
    }

    /// The limit that this is about.
    pub(crate) fn limit(&self) -> Option<&Limit> {
        self.limits.get(self.standing.limit)
    }

    /// What the response says about limits already comes first: a layer further in knows more.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let (Some(limit), false) = (self.limit(), self.fields == Fields::None) else { return };
        let (quota, name) = (limit.quota(), limit.name());
        let (requests, remaining) = (quota.requests(), self.standing.remaining);
        let (window, reset) = (whole_seconds(quota.window()), whole_seconds(self.standing.reset));
        // A name has nothing in it that would have to be escaped.
        set(headers, POLICY, format!("\"{name}\";q={requests};w={window}"));
        set(headers, LIMIT, format!("\"{name}\";r={remaining};t={reset}"));
        if self.fields == Fields::DraftAndLegacy {
            set(headers, LEGACY_LIMIT, requests.to_string());
            set(headers, LEGACY_REMAINING, remaining.to_string());
            set(headers, LEGACY_RESET, reset.to_string());
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.entry(name).or_insert(value);
    }
}

/// Rounded up: too late is a wait, too soon is a denial.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
