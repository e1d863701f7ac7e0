//! 12. Response headers that tell a caller how its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10: structured
//! fields (RFC 9651) with one member, the limit that is nearest to exhaustion.

use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};

use super::limiter::LimitState;
use crate::{
    clock::whole_seconds,
    key::{Limit, Limits},
    rejection::fields::{CREDITS, LEGACY_LIMIT, LEGACY_REMAINING, LEGACY_RESET, LIMIT, POLICY},
};

/// Which fields are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    None,
    Draft,
    DraftAndLegacy,
}

/// What a request has consumed, for its response.
#[derive(Clone, Debug)]
pub(crate) struct Consumption {
    rate: Option<LimitReport>,
    /// The credits that are left, for a key that spends some.
    credits: Option<u64>,
}

impl Consumption {
    /// Nothing, where there is nothing to tell. Boxed, since every request carries room for it, and
    /// few have any: those that do make header values, too.
    pub(crate) fn new(rate: Option<LimitReport>, credits: Option<u64>) -> Option<Box<Self>> {
        (rate.is_some() || credits.is_some()).then(|| Box::new(Self { rate, credits }))
    }

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
    state: LimitState,
    fields: Fields,
}

impl LimitReport {
    #[inline]
    pub(crate) fn new(limits: &Limits, state: LimitState, fields: Fields) -> Self {
        Self { limits: limits.clone(), state, fields }
    }

    /// The limit that this is about.
    pub(crate) fn limit(&self) -> Option<&Limit> {
        self.limits.get(self.state.limit)
    }

    /// The fields of a denial.
    pub(super) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        self.apply(&mut fields);
        fields
    }

    /// What the response says about limits already comes first: a layer further in knows more.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let (Some(limit), false) = (self.limit(), self.fields == Fields::None) else { return };
        let (quota, name) = (limit.quota(), limit.name());
        let (requests, remaining) = (quota.requests(), self.state.remaining);
        let (window, reset) = (whole_seconds(quota.window()), whole_seconds(self.state.reset));
        let (requests, remaining) = (u64::from(requests.get()), u64::from(remaining));
        set(headers, POLICY, || item(name, ";q=", requests, ";w=", window));
        set(headers, LIMIT, || item(name, ";r=", remaining, ";t=", reset));
        if self.fields == Fields::DraftAndLegacy {
            set(headers, LEGACY_LIMIT, || Some(requests.into()));
            set(headers, LEGACY_REMAINING, || Some(remaining.into()));
            set(headers, LEGACY_RESET, || Some(reset.into()));
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> Option<HeaderValue>) {
    if let Entry::Vacant(place) = headers.entry(name)
        && let Some(value) = value()
    {
        place.insert(value);
    }
}

/// `"name";a=1;b=2`. A name has nothing in it that would have to be escaped.
///
/// Every response has two of these, so they are put together in place, and copied once.
fn item(name: &str, one: &str, first: u64, two: &str, second: u64) -> Option<HeaderValue> {
    let mut line = Line { bytes: [0; 96], end: 0 };
    line.push(b"\"").push(name.as_bytes()).push(b"\"");
    line.push(one.as_bytes()).push_number(first).push(two.as_bytes()).push_number(second);
    HeaderValue::from_bytes(&line.bytes[..line.end]).ok()
}

/// Room for a name of 32 bytes and two numbers of 20 digits, with what stands between them.
struct Line {
    bytes: [u8; 96],
    end: usize,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.end + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.end..end) {
            place.copy_from_slice(bytes);
            self.end = end;
        }
        self
    }

    fn push_number(&mut self, mut number: u64) -> &mut Self {
        let (mut digits, mut start) = ([0; 20], 20);
        loop {
            start -= 1;
            // A digit.
            digits[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                return self.push(&digits[start..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_item_has_room() {
        let name = "n".repeat(32);
        let value = item(&name, ";q=", u64::MAX, ";w=", u64::MAX).unwrap();
        assert_eq!(value, format!("\"{name}\";q={0};w={0}", u64::MAX));
        assert_eq!(item("a", ";r=", 0, ";t=", 10).unwrap(), "\"a\";r=0;t=10");
    }
}
