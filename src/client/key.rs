//! [`ClientKey`]: the key that a client sends, and where it comes from.

use std::{env, fmt, future::Future, path::Path, sync::Arc};

use http::HeaderValue;
use zeroize::Zeroizing;

use super::{
    credential::{Credential, digest_of},
    file_error::KeyFileError,
    key_file::KeyFile,
};
use crate::{
    error::ConfigError,
    key::{KeyDigest, KeyFormat, SecretKey},
    runtime::watched_file::{self, WatchedFile},
};

/// The key that a client sends with its requests: 8 to 4096 bytes of visible ASCII.
///
/// White space around it is no part of it. `Debug` shows where the key comes from and nothing of the
/// key. Its memory is wiped once the last request with it is gone; the copies that an HTTP client
/// writes to a connection are its own.
///
/// A key in a file can be replaced while the program runs:
///
/// ```
/// use tower_api_key::client::{AttachApiKeyLayer, ClientKey};
///
/// async fn layer() -> Result<AttachApiKeyLayer, Box<dyn std::error::Error>> {
///     let key = ClientKey::from_file("/run/secrets/orders-api-key").await?;
///     Ok(AttachApiKeyLayer::new(key, ["https://orders.example.com"])?)
/// }
/// # let _ = layer();
/// ```
///
/// Clones share the same key.
#[derive(Clone)]
pub struct ClientKey(Source);

#[derive(Clone)]
enum Source {
    Secret(Credential),
    Environment { variable: Arc<str>, key: Credential },
    File(Arc<KeyFile>),
}

impl ClientKey {
    /// This key.
    pub fn new(key: &SecretKey) -> Result<Self, ConfigError> {
        let key = Credential::read(key.expose().as_bytes()).map_err(|_| ConfigError::ClientKey)?;
        Ok(Self(Source::Secret(key)))
    }

    /// The key in an environment variable, as it is now. The environment of a process does not change,
    /// so a new key takes a restart; [`from_file`](Self::from_file) takes none.
    ///
    /// The error for an unset variable or a bad value names the variable and shows no value.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        let unset = |_| ConfigError::EnvironmentUnset { variable: variable.to_owned() };
        let value = Zeroizing::new(env::var(variable).map_err(unset)?);
        let bad = |_| ConfigError::EnvironmentValue {
            variable: variable.to_owned(),
            expected: "a key of 8 to 4096 bytes of visible ASCII",
        };
        let key = Credential::read(value.as_bytes()).map_err(bad)?;
        Ok(Self(Source::Environment { variable: variable.into(), key }))
    }

    /// The key in a file, which is read again when it changes. A file without a key is an error.
    ///
    /// Every second the file is read, by whatever way its path leads there: it may be written in place,
    /// replaced by renaming, or be behind a symbolic link that is changed, as Kubernetes does with a
    /// `Secret`. A response with status 401 has the file read at once: see
    /// [`AttachApiKeyLayer`](super::AttachApiKeyLayer).
    ///
    /// A content counts once two looks, a fifth of a second apart, have seen it, the first one as well.
    /// So a file that is half written **for less than a fifth of a second** is not taken for a finished
    /// one. The first half of a key looks like a key, so writers that may pause for longer have to write
    /// another file and rename it; see also [`with_format`](Self::with_format).
    ///
    /// A file that is missing, empty, larger than 8 KiB or anything else than a key changes nothing:
    /// **the last good key stays in use**. [`file_error`](Self::file_error) says so, and so do a
    /// warning, and the metrics `tower_api_key_client_key_current` (0) and
    /// `tower_api_key_client_key_loads_failed_total`.
    ///
    /// The file is read on this runtime. Once that has ended, or does not run for three seconds, the
    /// next request has the file read on its own runtime.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with time.
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path: Arc<Path> = path.as_ref().into();
        let file = Arc::new(KeyFile::open(&path).await?);
        watched_file::watch(&file);
        Ok(Self(Source::File(file)))
    }

    /// Refuses any key that is not of this format, in a file also later. A key that this crate made has a
    /// checksum, so that a part of it is refused, and the last good key stays in use.
    ///
    /// [`ClientKey`](ConfigError::ClientKey) if the key, as it is now, has another format. Holds for all
    /// clones of a key in a file.
    ///
    /// ```
    /// use tower_api_key::{KeyFormat, client::ClientKey};
    ///
    /// let format = KeyFormat::new("acme")?;
    /// let key = ClientKey::new(&format.generate()?)?.with_format(format)?;
    /// # let _ = key;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_format(self, format: KeyFormat) -> Result<Self, ConfigError> {
        let has_it = match &self.0 {
            Source::Secret(key) | Source::Environment { key, .. } => key.has(&format),
            Source::File(file) => file.set_format(format),
        };
        if has_it { Ok(self) } else { Err(ConfigError::ClientKey) }
    }

    /// Reads the file now, twice, a fifth of a second apart, and up to ten times until two readings in a
    /// row are the same. After an error, the key stays as it was. A key that is in no file stays as
    /// well.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with time.
    pub async fn reload(&self) -> Result<(), KeyFileError> {
        let Source::File(file) = &self.0 else { return Ok(()) };
        let reloaded = watched_file::reload_settled(file).await;
        reloaded.unwrap_or_else(|fault| Err(file.fault(fault.into())))
    }

    /// Why the file as it is now is not in use, or not known to be. `None` while it is in use, and for a
    /// key that is in no file.
    pub fn file_error(&self) -> Option<KeyFileError> {
        match &self.0 {
            Source::File(file) => file.error(),
            Source::Secret(_) | Source::Environment { .. } => None,
        }
    }

    pub(super) fn current(&self) -> Credential {
        match &self.0 {
            Source::Secret(key) | Source::Environment { key, .. } => key.clone(),
            Source::File(file) => file.current(),
        }
    }

    /// Whether the value of a header is this key, or one in the place of which it came.
    pub(super) fn is(&self, value: &HeaderValue) -> bool {
        let digest = digest_of(value);
        match &self.0 {
            Source::Secret(key) | Source::Environment { key, .. } => key.digest() == digest,
            Source::File(file) => file.has_held(digest),
        }
    }

    /// Has the file of a key looked at that a server refused; `None` if there is none, or it has another
    /// one already.
    pub(super) fn check(&self, refused: KeyDigest) -> Option<impl Future<Output = ()> + use<>> {
        let Source::File(file) = &self.0 else { return None };
        if file.is_current(refused) { watched_file::check(file) } else { None }
    }

    pub(super) fn is_current(&self, digest: KeyDigest) -> bool {
        match &self.0 {
            Source::Secret(key) | Source::Environment { key, .. } => key.digest() == digest,
            Source::File(file) => file.is_current(digest),
        }
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Secret(_) => f.write_str("ClientKey(..)"),
            Source::Environment { variable, .. } => {
                f.debug_struct("ClientKey").field("variable", variable).finish_non_exhaustive()
            }
            Source::File(file) => f
                .debug_struct("ClientKey")
                .field("path", file.watch().path())
                .field("error", &file.error())
                .finish_non_exhaustive(),
        }
    }
}
