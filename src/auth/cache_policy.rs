//! 12. Response headers that keep shared caches from giving one caller's answer to another.
//!
//! A shared cache protects answers to `Authorization` by itself (RFC 9111 §3.5), but knows
//! nothing of keys in a header of our own.

use http::{
    HeaderMap, HeaderValue,
    header::{self, Entry},
};

use super::{authenticate::Admission, extract::KeySource};
use crate::rejection::uncounted;

/// What the headers of a response are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CachePolicy {
    /// No key was looked for, so the response does not depend on one.
    None,
    /// To a caller without an identity: may be shared with others of that kind.
    Vary,
    /// To a caller with an identity: `private` as well, unless the application decided.
    VaryAndPrivate,
}

impl CachePolicy {
    #[inline]
    pub(crate) fn for_admission(admission: &Admission) -> Self {
        match admission {
            Admission::PassBy | Admission::Preflight => Self::None,
            Admission::Anonymous => Self::Vary,
            Admission::Authenticated { .. } => Self::VaryAndPrivate,
        }
    }

    /// Adds the headers. `vary` is what [`vary_on`] made of the layer's sources.
    #[inline]
    pub(crate) fn apply(self, vary: Option<&HeaderValue>, headers: &mut HeaderMap) {
        // Added first and looked at afterwards: nearly always there is no other.
        if let (Self::Vary | Self::VaryAndPrivate, Some(vary)) = (self, vary)
            && headers.append(header::VARY, vary.clone())
        {
            merge_last_vary(headers);
        }
        if matches!(self, Self::VaryAndPrivate)
            && let Entry::Vacant(vacant) = headers.entry(header::CACHE_CONTROL)
        {
            vacant.insert(HeaderValue::from_static("private"));
        }
    }
}

/// Leaves of the last line the names that are in no line before it. `*` stands for all names
/// (RFC 9110 §12.5.5).
#[cold]
fn merge_last_vary(headers: &mut HeaderMap) {
    let Entry::Occupied(lines) = headers.entry(header::VARY) else { return };
    let (name, lines) = lines.remove_entry_mult();
    let mut lines: Vec<HeaderValue> = lines.collect();
    let Some(last) = lines.pop() else { return };
    let names = |line: &HeaderValue| {
        let names = line.as_bytes().split(|byte| *byte == b',');
        names.map(|name| name.trim_ascii().to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let there: Vec<_> = lines.iter().flat_map(names).collect();
    let stands_for_all = there.iter().any(|name| name == b"*");
    let mut missing = names(&last);
    missing.retain(|name| !stands_for_all && !there.contains(name));
    if !missing.is_empty() {
        lines.extend(HeaderValue::from_bytes(&missing.join(&b", "[..])));
    }
    for line in lines {
        headers.append(&name, line);
    }
}

/// The `Vary` for answers that depend on keys in these sources; `None` when no header does. (A
/// key in the query is part of the cache's own key.)
pub(crate) fn vary_on(sources: &[KeySource]) -> Option<HeaderValue> {
    let mut names: Vec<&str> = Vec::new();
    for name in sources.iter().filter_map(KeySource::header_name) {
        if !names.contains(&name.as_str()) {
            names.push(name.as_str());
        }
    }
    let value = names.join(", ");
    uncounted(value).filter(|value| !value.is_empty())
}
