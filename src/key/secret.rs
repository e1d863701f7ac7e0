//! [`SecretKey`]: the raw key while it must exist.

use std::fmt;

use zeroize::Zeroizing;

/// A raw API key.
///
/// Exists when a key is issued and while a request is judged. `Debug` shows nothing of it, there
/// is no `Display` and no `PartialEq`, and the memory is wiped on drop. It is deliberately not
/// `Clone`: a copy is made by the caller of [`expose`](Self::expose), and is theirs to look after.
///
/// ```
/// use tower_api_key::KeyFormat;
///
/// let key = KeyFormat::new("acme")?.generate()?;
/// assert_eq!(format!("{key:?}"), "SecretKey(..)");
/// assert!(key.expose().starts_with("acme_"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SecretKey(Zeroizing<String>);

impl SecretKey {
    /// Takes over a key that came from elsewhere.
    pub fn new(key: impl Into<String>) -> Self {
        Self(Zeroizing::new(key.into()))
    }

    /// The key itself, for handing it to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
