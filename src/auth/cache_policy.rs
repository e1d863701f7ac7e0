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
            merge_vary(headers);
        }
        if matches!(self, Self::VaryAndPrivate)
            && let Entry::Vacant(vacant) = headers.entry(header::CACHE_CONTROL)
        {
            vacant.insert(HeaderValue::from_static("private"));
        }
    }
}

/// Makes one line of all, with each name once. Several lines mean the same (RFC 9110 §5.3), but nginx 1.22
/// reads the last of them alone, and knows `*`, which stands for all names (§12.5.5), only by itself.
#[cold]
fn merge_vary(headers: &mut HeaderMap) {
    let mut names: Vec<&[u8]> = Vec::new();
    for line in headers.get_all(header::VARY) {
        let listed = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for name in listed.filter(|name| !name.is_empty()) {
            if !names.iter().any(|there| there.eq_ignore_ascii_case(name)) {
                names.push(name);
            }
        }
    }
    let all: &[u8] = b"*";
    let merged = if names.contains(&all) { all.to_vec() } else { names.join(&b", "[..]) };
    // Of parts of values, so it is one.
    if let Ok(merged) = HeaderValue::from_bytes(&merged) {
        headers.insert(header::VARY, merged);
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
