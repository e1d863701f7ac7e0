//! [`Scope`]: a thing that a key may do.

use std::{fmt, str::FromStr};

use super::{characters::shown, shared_text::SharedText};

/// Longest accepted scope, in bytes.
const MAX_LEN: usize = 128;

/// One thing a key may do, such as `orders:read`.
///
/// Segments joined by `:`, of the characters that OAuth allows in a scope (RFC 6749 §3.3:
/// visible ASCII without `"` and `\`), at most 128 bytes. A granted scope may end in a wildcard
/// segment:
///
/// - `orders:*` covers `orders:read` and `orders:items:read`, but neither `orders` itself nor
///   `orders-archive:read`;
/// - `*` covers everything.
///
/// A `*` anywhere else is refused, so that what looks like a wildcard always is one.
///
/// ```
/// use tower_api_key::scope::Scope;
///
/// let granted: Scope = "orders:*".parse()?;
/// assert!(granted.covers(&"orders:read".parse()?));
/// assert!(!granted.covers(&"ordersx:read".parse()?));
/// assert!("ord*:read".parse::<Scope>().is_err());
/// # Ok::<(), tower_api_key::scope::InvalidScope>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// A scope that is known to be one.
    #[cfg(feature = "axum")]
    pub(crate) fn known(text: &'static str) -> Self {
        Self(text.into())
    }

    /// The scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a key that was granted `self` may do what `required` names.
    pub fn covers(&self, required: &Self) -> bool {
        covers(&self.0, &required.0)
    }
}

#[inline]
fn covers(granted: &str, required: &str) -> bool {
    match granted.strip_suffix('*') {
        // What is left is empty or ends in `:`, so half a segment never matches; and no scope is, so
        // something follows.
        Some(stem) => required.starts_with(stem),
        None => granted == required,
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let token = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let mut segments = text.split(':').peekable();
        let mut good = text.len() <= MAX_LEN && text.bytes().all(token);
        while let Some(segment) = segments.next() {
            let wildcard = segment == "*" && segments.peek().is_none();
            good &= wildcard || (!segment.is_empty() && !segment.contains('*'));
        }
        if good { Ok(Self(text.into())) } else { Err(InvalidScope(shown(text).into())) }
    }
}

impl TryFrom<&str> for Scope {
    type Error = InvalidScope;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

crate::text::serde_as_text!(Scope, "a scope such as orders:read");

/// The text is not a scope. Of a long one, only the beginning is shown: it may be a key in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidScope(Box<str>);

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a scope: segments of visible ASCII joined by `:`, at most {MAX_LEN} bytes, \
             `*` only as the last segment",
            self.0
        )
    }
}

impl std::error::Error for InvalidScope {}

/// A set of granted scopes, sorted and without duplicates. Empty grants nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
// One text, as in OAuth: in alphabetical order, with spaces between them. A box for each would
// take most of the memory of a cached key, and most keys have the set of many others.
pub struct Scopes(SharedText);

impl Scopes {
    /// Reads scopes from text.
    ///
    /// ```
    /// use tower_api_key::Scopes;
    ///
    /// let scopes = Scopes::parse(["orders:read", "stock:*"])?;
    /// assert!(scopes.allow(&"stock:write".parse()?));
    /// # Ok::<(), tower_api_key::scope::InvalidScope>(())
    /// ```
    pub fn parse<T: AsRef<str>>(scopes: impl IntoIterator<Item = T>) -> Result<Self, InvalidScope> {
        scopes.into_iter().map(|scope| scope.as_ref().parse()).collect()
    }

    /// Whether any of them covers `required`.
    pub fn allow(&self, required: &Scope) -> bool {
        self.iter().any(|granted| covers(granted, &required.0))
    }

    /// Whether each of `others` is covered by one of these.
    ///
    /// ```
    /// use tower_api_key::Scopes;
    ///
    /// let ceiling = Scopes::parse(["orders:*"])?;
    /// assert!(ceiling.allow_all(&Scopes::parse(["orders:read", "orders:items:*"])?));
    /// assert!(!ceiling.allow_all(&Scopes::parse(["*"])?));
    /// # Ok::<(), tower_api_key::scope::InvalidScope>(())
    /// ```
    pub fn allow_all(&self, others: &Self) -> bool {
        others.iter().all(|other| self.iter().any(|granted| covers(granted, other)))
    }

    /// The scopes in alphabetical order with a space between them, as OAuth writes them
    /// (RFC 6749 §3.3).
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In alphabetical order, as text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().map(|scope| scope.0).collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(SharedText::new(scopes.join(" ")))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl serde_core::Serialize for Scopes {
    fn serialize<S: serde_core::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> serde_core::Deserialize<'de> for Scopes {
    fn deserialize<D: serde_core::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Scope>::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_a_scope() {
        for good in ["a", "*", "a:*", "a:b:c", "a.b/c-d_e"] {
            assert!(good.parse::<Scope>().is_ok(), "{good}");
        }
        for bad in
            ["", ":", "a:", ":a", "a::b", "a*", "*a", "*:a", "a:*:b", "a b", "a\"", "a\\", "ä"]
        {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
        assert!("a".repeat(129).parse::<Scope>().is_err());
    }

    #[test]
    fn sets_are_sorted_and_unique() {
        let scopes = Scopes::parse(["b", "a", "b"]).unwrap();
        assert_eq!(format!("{scopes:?}"), r#"{"a", "b"}"#);
        assert!(Scopes::parse(["a", "not a scope"]).is_err());
    }

    /// The definition, segment by segment and without prefixes of text.
    fn covers_by_segments(granted: &str, required: &str) -> bool {
        let (mut granted, mut required) = (granted.split(':'), required.split(':'));
        loop {
            match (granted.next(), required.next()) {
                (Some("*"), Some(_)) | (None, None) => return true,
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    proptest! {
        #[test]
        fn wildcards_match_whole_segments(
            granted in "[ab]{1,2}(:[ab]{1,2}){0,2}(:\\*)?|\\*",
            required in "[ab]{1,2}(:[ab]{1,2}){0,3}(:\\*)?|\\*",
        ) {
            let covers = granted.parse::<Scope>().unwrap().covers(&required.parse().unwrap());
            prop_assert_eq!(covers, covers_by_segments(&granted, &required));
        }
    }
}
