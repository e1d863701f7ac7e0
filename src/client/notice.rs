//! [`Notice`]: a server says that the key will end, in `Deprecation` (RFC 9745) and `Sunset`
//! (RFC 8594).

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::retry_after::date;
use crate::{clock::Timestamp, key::KeyDigest};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The same is told once in this time.
const AGAIN: Duration = Duration::from_hours(1);

/// A server that says something else each time is told once in this time.
const CHANGED: Duration = Duration::from_mins(1);

/// Of a server, for a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) deprecation: Option<Said>,
    pub(super) sunset: Option<Said>,
    key: KeyDigest,
}

/// All that is told of a value: a server could have repeated the key in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// `true`, as drafts of RFC 9745 had it.
    True,
    At(Timestamp),
    Unreadable,
}

/// The notice that was last told, and when.
#[derive(Default)]
pub(super) struct Told(Option<(Notice, Instant)>);

impl Notice {
    /// `None` for the many responses that say nothing.
    pub(super) fn of(headers: &HeaderMap, key: KeyDigest) -> Option<Self> {
        let deprecation = headers.get(DEPRECATION).map(deprecation);
        let sunset = headers.get(SUNSET);
        let sunset = sunset.map(|value| date(value).map_or(Said::Unreadable, Said::At));
        (deprecation.is_some() || sunset.is_some()).then_some(Self { deprecation, sunset, key })
    }
}

impl Told {
    /// Whether this is to be told now.
    pub(super) fn is_news(&mut self, notice: &Notice, now: Instant) -> bool {
        if let Some((last, at)) = &self.0 {
            let pause = if last == notice { AGAIN } else { CHANGED };
            if now.saturating_duration_since(*at) < pause {
                return false;
            }
        }
        self.0 = Some((notice.clone(), now));
        true
    }
}

/// A structured date such as `@1688169599`, perhaps with parameters, or what drafts had.
fn deprecation(value: &HeaderValue) -> Said {
    let text = value.to_str().unwrap_or_default();
    let text = text.split(';').next().unwrap_or_default().trim_ascii();
    if text == "true" {
        return Said::True;
    }
    let seconds = text.strip_prefix('@').and_then(|seconds| seconds.parse::<i64>().ok());
    match seconds.map(|seconds| Timestamp::from_unix_millis(seconds.saturating_mul(1000))) {
        Some(at) => Said::At(at),
        None => date(value).map_or(Said::Unreadable, Said::At),
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => f.write_str("true"),
            Self::At(at) => at.fmt(f),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyHasher;

    fn key(text: &str) -> KeyDigest {
        KeyHasher::sha256().digest(text)
    }

    fn said(fields: &[(HeaderName, &str)]) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let Some(notice) = Notice::of(&headers, key("k")) else { return (None, None) };
        let text = |said: Option<Said>| said.map(|said| said.to_string());
        (text(notice.deprecation), text(notice.sunset))
    }

    #[test]
    fn nothing_but_times_is_told_of_what_a_server_says() {
        for (value, told) in [
            ("@1688169599", "2023-06-30T23:59:59.000Z"),
            ("@1688169599;key=value", "2023-06-30T23:59:59.000Z"),
            ("@99999999999999999", "9999-12-30T22:00:00.000Z"),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000Z"),
            ("true", "true"),
            ("acme_a-key-that-was-repeated", "unreadable"),
            ("@acme_key", "unreadable"),
            ("\u{9b}31m", "unreadable"),
            ("", "unreadable"),
        ] {
            assert_eq!(said(&[(DEPRECATION, value)]), (Some(told.to_owned()), None), "{value}");
        }
        for (value, told) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000Z"),
            ("acme_a-key-that-was-repeated", "unreadable"),
            ("@1688169599", "unreadable"),
            ("true", "unreadable"),
        ] {
            assert_eq!(said(&[(SUNSET, value)]), (None, Some(told.to_owned())), "{value}");
        }
        assert_eq!(said(&[]), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_an_hour_and_anything_else_once_a_minute() {
        let notice = |sunset, of| Notice { deprecation: None, sunset: Some(sunset), key: key(of) };
        let (one, other) = (notice(Said::True, "k"), notice(Said::Unreadable, "k"));
        let start = Instant::now();
        let mut told = Told::default();
        for (seconds, notice, is_news) in [
            (0, &one, true),
            (1, &one, false),
            (59, &other, false),
            (60, &other, true),
            (61, &one, false),
            (3_600, &other, false),
            (3_660, &other, true),
            (3_719, &notice(Said::Unreadable, "replaced"), false),
            (3_720, &notice(Said::Unreadable, "replaced"), true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(told.is_news(notice, now), is_news, "{seconds}");
        }
    }
}
