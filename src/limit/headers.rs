//! 12. Response headers that tell a caller how its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10: structured
//! fields (RFC 9651) with one member, the limit that is nearest to exhaustion.

use std::{cell::RefCell, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limiter::LimitState;
use crate::{
    clock::whole_seconds,
    key::{Limit, Limits},
    rejection::fields::{CREDITS, LEGACY_LIMIT, LEGACY_REMAINING, LEGACY_RESET, LIMIT, POLICY},
    text::Text,
};

/// Which fields are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    None,
    Draft,
    DraftAndLegacy,
}

/// What a request has consumed, for its response.
// Every request carries room for it, so it is small.
#[derive(Clone, Debug, Default)]
pub(crate) struct Consumption {
    rate: Option<LimitReport>,
    /// The credits that are left, for a key that spends some.
    credits: Option<u64>,
}

impl Consumption {
    #[inline]
    pub(crate) const fn new(rate: Option<LimitReport>, credits: Option<u64>) -> Self {
        Self { rate, credits }
    }

    #[inline]
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if self.rate.is_some() || self.credits.is_some() {
            self.tell(headers);
        }
    }

    #[inline(never)]
    fn tell(&self, headers: &mut HeaderMap) {
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
    policy: Arc<Policy>,
    remaining: u32,
    /// In seconds.
    reset: u32,
}

impl LimitReport {
    /// Nothing, where no fields are sent.
    #[inline]
    pub(crate) fn new(limits: &Limits, state: LimitState, fields: Fields) -> Option<Self> {
        if fields == Fields::None {
            return None;
        }
        let limit = limits.get(state.limit)?;
        let reset = u32::try_from(whole_seconds(state.reset)).unwrap_or(u32::MAX);
        Some(Self { policy: Policy::of(limit, fields)?, remaining: state.remaining, reset })
    }

    /// The fields of a denial.
    pub(super) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        self.apply(&mut fields);
        fields
    }

    /// What the response says about limits already comes first: a layer further in knows more.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let policy = &*self.policy;
        set(headers, || POLICY, policy.value.clone());
        if let Some(item) = policy.item(self.remaining, self.reset) {
            set(headers, || LIMIT, item);
        }
        if policy.fields == Fields::DraftAndLegacy {
            set(headers, || LEGACY_LIMIT, policy.requests.into());
            set(headers, || LEGACY_REMAINING, self.remaining.into());
            set(headers, || LEGACY_RESET, self.reset.into());
        }
    }
}

/// Adds a field that is not there. Nearly always it is not, so it is looked for only once, while it is
/// added.
#[inline]
fn set(headers: &mut HeaderMap, name: impl Fn() -> HeaderName, value: HeaderValue) {
    #[cold]
    fn remove_last(headers: &mut HeaderMap, name: &HeaderName) {
        let mut values: Vec<_> = headers.get_all(name).iter().cloned().collect();
        values.pop();
        let mut values = values.into_iter();
        if let Some(first) = values.next() {
            headers.insert(name, first);
        }
        for value in values {
            headers.append(name, value);
        }
    }

    if headers.append(name(), value) {
        remove_last(headers, &name());
    }
}

/// What all responses tell alike about a limit.
#[derive(Debug)]
struct Policy {
    name: Text,
    requests: u32,
    /// In seconds.
    window: u64,
    fields: Fields,
    value: HeaderValue,
    /// The beginning of `RateLimit`.
    start: Line<START>,
}

/// A name of 32 bytes in quotes, and what comes before the first number.
const START: usize = 40;

/// Policies that a thread remembers.
const REMEMBERED: usize = 16;

thread_local! {
    /// Rendered by each thread for itself: the count of one for all of them would be written by
    /// every request.
    static POLICIES: RefCell<[Option<Arc<Policy>>; REMEMBERED]> =
        const { RefCell::new([const { None }; REMEMBERED]) };
}

impl Policy {
    /// That of a limit, from this thread's memory.
    #[inline]
    fn of(limit: &Limit, fields: Fields) -> Option<Arc<Self>> {
        #[cold]
        fn render(
            known: &mut Option<Arc<Policy>>,
            limit: &Limit,
            fields: Fields,
        ) -> Option<Arc<Policy>> {
            *known = Policy::new(limit, fields).map(Arc::new);
            known.clone()
        }

        let requests = limit.quota().requests().get();
        let place = usize::try_from(limit.tag() % REMEMBERED as u64).unwrap_or(0);
        let place = (place ^ requests as usize) % REMEMBERED;
        let known = POLICIES.try_with(|known| {
            let known = &mut known.borrow_mut()[place];
            match known {
                Some(policy) if policy.is_of(limit, fields) => Some(policy.clone()),
                _ => render(known, limit, fields),
            }
        });
        // The thread is about to end.
        known.unwrap_or_else(|_| render(&mut None, limit, fields))
    }

    #[inline]
    fn is_of(&self, limit: &Limit, fields: Fields) -> bool {
        self.requests == limit.quota().requests().get()
            && self.window == whole_seconds(limit.quota().window())
            && self.fields == fields
            && *self.name == *limit.name()
    }

    /// A name has nothing in it that would have to be escaped.
    fn new(limit: &Limit, fields: Fields) -> Option<Self> {
        let (name, requests) = (Text::from(limit.name()), limit.quota().requests().get());
        let window = whole_seconds(limit.quota().window());
        let mut start = Line::<START>::new();
        start.push(b"\"").push(name.as_bytes()).push(b"\"");
        let mut line = Line::<LONGEST>::from(&start);
        line.push(b";q=").push_number(requests.into()).push(b";w=").push_number(window);
        start.push(b";r=");
        Some(Self { name, requests, window, fields, value: line.value()?, start })
    }

    /// `"name";r=1;t=2`. Every response has one of these, so it is put together in place, and copied
    /// once.
    #[inline]
    fn item(&self, remaining: u32, reset: u32) -> Option<HeaderValue> {
        let mut line = Line::<LONGEST>::from(&self.start);
        line.push_number(remaining.into()).push(b";t=").push_number(reset.into()).value()
    }
}

/// A line that is written from its start.
#[derive(Debug)]
struct Line<const N: usize> {
    bytes: [u8; N],
    end: usize,
}

/// Room for a start and two numbers of 20 digits, with what stands between them.
const LONGEST: usize = 96;

impl From<&Line<START>> for Line<LONGEST> {
    #[inline]
    fn from(start: &Line<START>) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..START].copy_from_slice(&start.bytes);
        Self { bytes, end: start.end }
    }
}

/// 00 to 99.
const PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let (mut pairs, mut number) = ([[b'0'; 2]; 100], 0_u8);
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
}

impl<const N: usize> Line<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], end: 0 }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.end + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.end..end) {
            place.copy_from_slice(bytes);
            self.end = end;
        }
        self
    }

    /// Two digits at a time.
    fn push_number(&mut self, mut number: u64) -> &mut Self {
        let (mut digits, mut start) = ([0; 20], 20);
        while number >= 10 {
            start -= 2;
            let two = usize::try_from(number % 100).unwrap_or(0);
            digits[start..start + 2].copy_from_slice(&PAIRS[two]);
            number /= 100;
        }
        // The first one, or the only one.
        if number > 0 || start == 20 {
            start -= 1;
            digits[start] = b'0' + u8::try_from(number).unwrap_or(0);
        }
        self.push(&digits[start..])
    }

    #[inline]
    fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.bytes.get(..self.end)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{key::Quota, nonzero};

    fn limit(name: &str, requests: u32, millis: u64) -> Limit {
        let quota = Quota::new(requests.try_into().unwrap(), Duration::from_millis(millis));
        Limit::new(name, quota.unwrap()).unwrap()
    }

    fn report(limit: Limit, remaining: u32, seconds: u64, fields: Fields) -> HeaderMap {
        let state = LimitState::from_parts(0, remaining, Duration::from_secs(seconds));
        let report = LimitReport::new(&Limits::new([limit]).unwrap(), state, fields);
        report.map(|report| report.fields()).unwrap_or_default()
    }

    #[test]
    fn the_longest_items_have_room() {
        let name = "n".repeat(32);
        let fields = report(limit(&name, u32::MAX, 999), u32::MAX, u64::MAX, Fields::Draft);
        let max = u32::MAX;
        assert_eq!(fields[POLICY], format!("\"{name}\";q={max};w=1"));
        assert_eq!(fields[LIMIT], format!("\"{name}\";r={max};t={max}"));
        let mut line = Line::<LONGEST>::new();
        line.push(name.as_bytes()).push(b"\"\";q=;w=").push_number(u64::MAX).push_number(u64::MAX);
        assert_eq!(line.end, 32 + 8 + 40);
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in (0..=1_010).chain([9_999, 10_000, 99_999, u64::MAX - 1, u64::MAX]) {
            let mut line = Line::<20>::new();
            line.push_number(number);
            assert_eq!(line.value().unwrap(), number.to_string());
        }
    }

    /// They are made by the compiler. Here they are made once more, by what makes them.
    #[test]
    fn pairs_are_numbers_of_two_digits() {
        for (number, pair) in pairs().iter().enumerate() {
            assert_eq!(str::from_utf8(pair).unwrap(), format!("{number:02}"));
        }
    }

    /// More of them than a thread remembers, of which some take the same place: each after each.
    #[test]
    fn no_limit_has_the_policy_of_another() {
        let limits: Vec<_> = (0..8)
            .flat_map(|number| ["a", "b"].map(|name| (name, number * 16 + 1)))
            .flat_map(|(name, requests)| [1_000, 60_000].map(|millis| (name, requests, millis)))
            .flat_map(|limit| [Fields::Draft, Fields::DraftAndLegacy].map(|fields| (limit, fields)))
            .collect();
        for before in &limits {
            for after in &limits {
                for ((name, requests, millis), fields) in [before, after] {
                    let headers = report(limit(name, *requests, *millis), 7, 3, *fields);
                    let window = millis / 1_000;
                    assert_eq!(headers[POLICY], format!("\"{name}\";q={requests};w={window}"));
                    assert_eq!(headers[LIMIT], format!("\"{name}\";r=7;t=3"));
                    let legacy = headers.get(LEGACY_LIMIT).map(HeaderValue::as_bytes);
                    let is_legacy = *fields == Fields::DraftAndLegacy;
                    let expected = is_legacy.then(|| requests.to_string());
                    assert_eq!(legacy, expected.as_ref().map(String::as_bytes));
                }
            }
        }
        assert_eq!(report(limit("a", 1, 1_000), 0, 0, Fields::None).len(), 0);
    }

    #[test]
    fn what_a_layer_further_in_has_said_stays() {
        let state = LimitState::from_parts(0, 1, Duration::ZERO);
        let limits = Limits::new([Limit::new("a", Quota::per_second(nonzero!(2))).unwrap()]);
        let report = LimitReport::new(&limits.unwrap(), state, Fields::Draft).unwrap();
        let mut headers = HeaderMap::new();
        for value in ["\"b\";r=1;t=1", "\"c\";r=2;t=2"] {
            headers.append(LIMIT, HeaderValue::from_static(value));
        }
        report.apply(&mut headers);
        report.apply(&mut headers);
        assert_eq!(headers.get_all(LIMIT).iter().count(), 2);
        assert_eq!(headers[LIMIT], "\"b\";r=1;t=1");
        assert_eq!(headers.get_all(POLICY).iter().collect::<Vec<_>>(), ["\"a\";q=2;w=1"]);
    }
}
