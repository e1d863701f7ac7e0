//! [`Apart`]: the twin of something that counts, which counts apart.

use std::sync::OnceLock;

/// The twin of a value that counts, for layers in shadow: one for all of them, since each layer counts its
/// part. A changed value has another one.
pub(crate) struct Apart<T>(OnceLock<T>);

impl<T> Apart<T> {
    /// The twin, made by the first call.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(make)
    }

    /// The twin, if there is one.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }
}

impl<T> Default for Apart<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Clone for Apart<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}
