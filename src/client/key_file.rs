//! [`KeyFile`]: the key in a file, and those that it held before.

use std::{collections::VecDeque, mem, path::Path, sync::Arc};

use super::{
    credential::Credential,
    file_error::{KeyFileError, KeyFileErrorKind},
};
use crate::{
    key::{KeyDigest, KeyFormat},
    observe,
    runtime::{
        Mutex, RwLock,
        watched_file::{self, FileWatch, ReadFault, WatchedFile},
    },
};

/// How many replaced keys are still known as the client's own.
const MAX_PAST: usize = 16;

/// The key in a file, in use as it was last good.
pub(super) struct KeyFile {
    keys: RwLock<Keys>,
    error: Mutex<Option<KeyFileError>>,
    watch: FileWatch,
}

struct Keys {
    current: Credential,
    /// The digests of those before, the last one first.
    past: VecDeque<KeyDigest>,
    /// Keys of another one are refused.
    format: Option<KeyFormat>,
}

impl KeyFile {
    /// Reads a file for the first time.
    pub(super) async fn open(path: &Arc<Path>) -> Result<Self, KeyFileError> {
        let with_path = |kind| KeyFileError { path: path.clone(), kind };
        let content = watched_file::read_settled(path.clone(), Self::MAX_BYTES)
            .await
            .map_err(|fault| with_path(KeyFileErrorKind::from(fault)))?;
        let current =
            Credential::read(&content).map_err(|fault| with_path(KeyFileErrorKind::from(fault)))?;
        observe::client_key_loaded(path);
        Ok(Self {
            keys: RwLock::new(Keys { current, past: VecDeque::new(), format: None }),
            error: Mutex::default(),
            watch: FileWatch::new(path.clone(), &content),
        })
    }

    /// The key to send.
    pub(super) fn current(self: &Arc<Self>) -> Credential {
        watched_file::keep_watching(self);
        self.keys.read().current.clone()
    }

    /// Whether this is the digest of a key that the file holds, or has held not long ago.
    pub(super) fn has_held(&self, digest: KeyDigest) -> bool {
        let keys = self.keys.read();
        keys.current.digest() == digest || keys.past.contains(&digest)
    }

    pub(super) fn is_current(&self, digest: KeyDigest) -> bool {
        self.keys.read().current.digest() == digest
    }

    /// Refuses keys of any other format from now on. Returns whether the one in use has this.
    pub(super) fn set_format(&self, format: KeyFormat) -> bool {
        let mut keys = self.keys.write();
        let has_it = keys.current.has(&format);
        if has_it {
            keys.format = Some(format);
        }
        has_it
    }

    pub(super) fn error(&self) -> Option<KeyFileError> {
        let stale = || self.watch.is_stale().then(|| self.fault(KeyFileErrorKind::NotRead));
        self.error.lock().clone().or_else(stale)
    }

    pub(super) fn fault(&self, kind: KeyFileErrorKind) -> KeyFileError {
        KeyFileError { path: self.watch.path().clone(), kind }
    }

    fn keep_for(&self, kind: KeyFileErrorKind) -> KeyFileError {
        let error = self.fault(kind);
        *self.error.lock() = Some(error.clone());
        observe::client_key_kept(error.path(), &error);
        error
    }
}

impl WatchedFile for KeyFile {
    const MAX_BYTES: usize = 8 * 1024;

    type Error = KeyFileError;

    fn watch(&self) -> &FileWatch {
        &self.watch
    }

    fn judge(&self, content: &[u8]) -> Result<(), KeyFileError> {
        let new = Credential::read(content).map_err(|fault| self.keep_for(fault.into()))?;
        {
            let mut keys = self.keys.write();
            if keys.format.as_ref().is_some_and(|format| !new.has(format)) {
                drop(keys);
                return Err(self.keep_for(KeyFileErrorKind::NotAKey));
            }
            if new.digest() != keys.current.digest() {
                let old = mem::replace(&mut keys.current, new);
                keys.past.push_front(old.digest());
                keys.past.truncate(MAX_PAST);
            }
        }
        *self.error.lock() = None;
        observe::client_key_loaded(self.watch.path());
        Ok(())
    }

    fn keep(&self, fault: ReadFault) -> KeyFileError {
        self.keep_for(fault.into())
    }
}
