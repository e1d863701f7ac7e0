//! How long a server asks its client to wait: `Retry-After` (RFC 9110 §10.2.3).

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{DATE, RETRY_AFTER},
};

use crate::clock::Timestamp;

/// The time for which a server asks to be left alone; `None` where it does not ask.
///
/// A date is compared with the response's own `Date`, where it has one: clocks differ.
pub(super) fn pause(
    status: StatusCode,
    headers: &HeaderMap,
    now: impl FnOnce() -> Timestamp,
) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim_ascii();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than there is room for is long enough.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = Timestamp::from_http_date(value)?;
    let sent = headers.get(DATE).and_then(date);
    Some(until.saturating_since(sent.unwrap_or_else(now)))
}

/// A date in a header.
pub(super) fn date(value: &HeaderValue) -> Option<Timestamp> {
    Timestamp::from_http_date(value.to_str().ok()?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn asked(status: u16, fields: &[(http::HeaderName, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let now = || "1994-11-06T08:49:30Z".parse().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        pause(status, &headers, now).map(|pause| pause.as_secs())
    }

    #[test]
    fn seconds_and_dates_of_every_form() {
        for (value, seconds) in [
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1s", None),
            ("soon", None),
            ("1994-11-06T08:50:37Z", None),
            ("Sun, 31 Nov 1994 08:50:37 GMT", None),
            ("Sun, 06 Nov 1994 08:50:37", None),
            ("Sun, 06 Nov 1994 08:50:37 GMT, or so", None),
        ] {
            for status in [429, 503] {
                let fields = [(RETRY_AFTER, value), (DATE, SENT)];
                assert_eq!(asked(status, &fields), seconds, "{status} {value}");
            }
            assert_eq!(asked(200, &[(RETRY_AFTER, value), (DATE, SENT)]), None);
        }
        assert_eq!(asked(429, &[(DATE, SENT)]), None);
    }

    #[test]
    fn without_a_date_of_the_response_the_clock_says() {
        assert_eq!(asked(503, &[(RETRY_AFTER, SENT)]), Some(7));
        assert_eq!(asked(503, &[(RETRY_AFTER, SENT), (DATE, "yesterday")]), Some(7));
    }
}
