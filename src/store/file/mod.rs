//! [`FileStore`]: keys from a file that is read again when it changes.

mod entry;
mod error;
mod format;
mod keys;
mod value;

use std::{fmt, path::Path, sync::Arc, time::Duration};

pub use self::error::{FileError, FileErrorKind};
use self::keys::Keys;
use super::{KeyStore, Lookup, SharedRecord};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyDigest, KeyRecord},
    runtime::{
        async_methods,
        watched_file::{self, ReadFault, WatchedFile},
    },
};

/// Keys from a file, for a service with a handful of them. The file is read again when it changes.
///
/// The file is TOML, JSON or (with feature `file-yaml`) YAML, as its extension says. It holds a
/// list `keys`, and in it only digests:
///
/// ```toml
/// [[keys]]
/// # KEY=shop_$(openssl rand -hex 32); printf %s "$KEY" | sha256sum
/// digest = "48e4389fe9be1b939c761ccc20b69bf962af209365732a074a6d10f5e6423a4b"
/// name = "CI of the shop"
/// owner = "user-1"
/// scopes = ["orders:read"]
/// limits = [{ name = "minute", requests = 100, window_seconds = 60, burst = 20 }]
/// expires_at = 2030-01-31T12:00:00Z
/// ```
///
/// | field | what it holds |
/// |---|---|
/// | `digest` | required: 64 hexadecimal digits, the SHA-256 of the key |
/// | `name` | required: what the key is for, 1 to 100 characters |
/// | `id` | a UUID; without it, one follows from the name, which then no other key may have: it is the same after every start, and with another digest |
/// | `start` | the first characters of the key, at most 29, so that people can recognise it |
/// | `owner` | the owner of the key, 1 to 255 characters |
/// | `description` | a longer explanation, at most 1000 characters |
/// | `scopes` | what the key may do, at most 100; none is nothing |
/// | `tier` | the name of a set of limits, 1 to 100 characters |
/// | `limits` | rate limits of the key's own, in place of those of its tier, as [`Limits`](crate::limit::Limits) has them in JSON |
/// | `allowed_addresses` | networks the key may be used from, at most 100; none is from anywhere |
/// | `not_before` | the RFC 3339 date and time from which on the key works |
/// | `expires_at` | the one from which on it does not; a date alone is the end of that day in UTC, and the year 9999 is never |
/// | `disabled` | `true` switches the key off |
/// | `metadata` | the application's own data, at most 16 KiB as JSON |
///
/// The digest is plain SHA-256, as a new [`ApiKeyLayer`](crate::ApiKeyLayer) makes it; a layer with
/// peppers needs digests from its own [`KeyHasher`](crate::KeyHasher). A key in the place of its
/// digest is refused; only one that is itself 64 hexadecimal digits cannot be told from a digest, so
/// give keys a prefix.
///
/// Anything else is an error, so that a misspelt `expires_at` is not a key that never ends.
///
/// # Changes
///
/// Every second the file is read, by whatever way its path leads there: a file that is written in
/// place, replaced by renaming, or behind a symbolic link that is changed, as Kubernetes does with
/// a `ConfigMap`. A change counts once two looks have seen the same, a fifth of a second apart (or
/// [the interval](Self::with_interval), if that is less), so that a file that is just being written
/// is not taken for a finished one. Writers that may pause longer than that should write another
/// file and rename it.
///
/// A file that is missing or has any mistake in it changes nothing: **the keys of the last good one
/// stay**. [`status`](Self::status) says so, and so do a warning, and the metrics
/// `tower_api_key_file_current` (0) and `tower_api_key_file_loads_failed_total`. So a file that is
/// deleted withdraws no key. To withdraw one, take it out of the list, or say `disabled = true`.
///
/// Keys that were not changed stay the very same records, so whatever counts their use goes on.
///
/// Lookups never wait, so a [`CachedStore`](super::CachedStore) in front would only delay changes.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, store::{FileError, FileStore}};
///
/// async fn layer() -> Result<ApiKeyLayer, FileError> {
///     // A bad file is an error that names the key and the field, not a service without keys.
///     Ok(ApiKeyLayer::new(FileStore::open("keys.toml").await?))
/// }
/// # let _ = layer();
/// ```
///
/// Clones share the same keys. Nothing is watched once the last of them is dropped.
#[derive(Clone)]
pub struct FileStore(Arc<Keys>);

/// How a [`FileStore`] and its file stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStatus {
    /// When the keys in use were loaded.
    pub loaded_at: Timestamp,
    /// How many keys there are in use.
    pub keys: usize,
    /// Why the file as it is now is not in use. `None` while it is.
    pub error: Option<FileError>,
}

/// The keys in a file of this name and content.
#[cfg(any(fuzzing, test))]
pub(crate) fn parse(path: &Path, content: &[u8]) -> Result<Vec<KeyRecord>, FileError> {
    let parsed =
        format::Format::of(path).and_then(|format| format.parse(content, Timestamp::UNIX_EPOCH));
    parsed.map_err(|fault| FileError { path: path.into(), fault })
}

impl FileStore {
    /// Reads the file, at most 16 MiB, and goes on watching it on this runtime.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path: Arc<Path> = path.as_ref().into();
        let opening = path.clone();
        let failed = |fault: ReadFault| FileError { path, fault: fault.into() };
        let keys = watched_file::blocking(move || Keys::open(&opening), failed).await?;
        let keys = Arc::new(keys);
        watched_file::watch(&keys);
        Ok(Self(keys))
    }

    /// Looks at the file this often, a second by default, at least ten milliseconds.
    /// `Duration::MAX` is never, for callers of [`reload`](Self::reload). Holds for all clones.
    pub fn with_interval(self, interval: Duration) -> Self {
        self.0.watch().set_interval(interval);
        self
    }

    /// Reads the file now, without a second look. After an error, the keys stay as they were.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn reload(&self) -> Result<(), FileError> {
        let keys = self.0.clone();
        watched_file::blocking(move || watched_file::reload(&*keys), |fault| self.0.keep(fault))
            .await
    }

    /// Whether the file is in use as it is now, and if not, why.
    pub fn status(&self) -> FileStatus {
        self.0.status()
    }
}

impl KeyStore for FileStore {
    #[inline]
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        Some(self.0.find(digest).into())
    }

    #[inline]
    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        Some(self.0.find_shared(digest))
    }

    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            Ok(self.0.find(digest))
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", self.0.watch().path())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
