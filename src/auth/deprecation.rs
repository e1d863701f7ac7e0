//! 12. Response headers that tell a client that its key was replaced, and until when it works.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{clock::Timestamp, key::KeyRecord};

/// RFC 9745: since when, as a structured field date.
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// RFC 8594: until when, as an HTTP date.
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What there is to say about a key in its grace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeprecationHeaders {
    rotated_at: Timestamp,
    ends_at: Option<Timestamp>,
}

impl DeprecationHeaders {
    /// `None` for the many keys that were not replaced.
    #[inline]
    pub(crate) fn of(record: &KeyRecord) -> Option<Self> {
        let rotated_at = record.details.get()?.rotation.rotated_at?;
        Some(Self { rotated_at, ends_at: record.ends_at() })
    }

    /// What the application says about its own resource comes first.
    #[cold]
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let seconds = self.rotated_at.as_unix_millis().div_euclid(1000);
        if let Ok(value) = HeaderValue::try_from(format!("@{seconds}")) {
            headers.entry(DEPRECATION).or_insert(value);
        }
        // Without an end, the key waits for the first use of the one that replaces it. A date
        // before 1970 is none that this header knows.
        let ends_at = self.ends_at.filter(|end| *end >= Timestamp::UNIX_EPOCH);
        let date = ends_at.and_then(Timestamp::http_date);
        if let Some(value) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
            headers.entry(SUNSET).or_insert(value);
        }
    }
}
