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
        if let (Self::Vary | Self::VaryAndPrivate, Some(vary)) = (self, vary) {
            headers.append(header::VARY, vary.clone());
        }
        if matches!(self, Self::VaryAndPrivate)
            && let Entry::Vacant(vacant) = headers.entry(header::CACHE_CONTROL)
        {
            vacant.insert(HeaderValue::from_static("private"));
        }
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
