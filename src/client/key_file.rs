//! [`KeyFile`]: the key in a file, and those that it held before.

use std::{collections::VecDeque, mem, path::Path, sync::Arc};

use tokio::runtime::Handle;

use super::{
    credential::Credential,
    file_error::{KeyFileError, KeyFileErrorKind},
};
use crate::{
    key::KeyDigest,
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
}

impl KeyFile {
    /// Reads a file for the first time. Blocks.
    pub(super) fn open(path: &Arc<Path>) -> Result<Self, KeyFileError> {
        let with_path = |kind| KeyFileError { path: path.clone(), kind };
        let content = watched_file::read(path, Self::MAX_BYTES)
            .map_err(|fault| with_path(KeyFileErrorKind::from(fault)))?;
        let current =
            Credential::read(&content).map_err(|fault| with_path(KeyFileErrorKind::from(fault)))?;
        observe::client_key_loaded(path);
        Ok(Self {
            keys: RwLock::new(Keys { current, past: VecDeque::new() }),
            error: Mutex::default(),
            watch: FileWatch::new(path.clone(), &content),
        })
    }

    /// The key to send. The file is watched from now on, if it is not: the runtime in which it was
    /// watched may have ended.
    pub(super) fn current(self: &Arc<Self>) -> Credential {
        if !self.watch.is_running() && Handle::try_current().is_ok() {
            watched_file::watch(self);
        }
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

    pub(super) fn error(&self) -> Option<KeyFileError> {
        self.error.lock().clone()
    }

    fn keep_for(&self, kind: KeyFileErrorKind) -> KeyFileError {
        let error = KeyFileError { path: self.watch.path().clone(), kind };
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
