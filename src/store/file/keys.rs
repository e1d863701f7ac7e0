//! [`Keys`]: the keys in use, and how a file replaces them. Everything here that reads the file
//! blocks.

use std::{mem, path::Path, sync::Arc};

use super::{
    FileStatus,
    error::{Fault, FileError},
    format::Format,
};
use crate::{
    clock::{Clock, SystemClock},
    key::{KeyDigest, KeyRecord},
    observe,
    runtime::{
        DigestMap, MapDigest, Mutex, RwLock,
        watched_file::{self, FileWatch, ReadFault, WatchedFile},
    },
    store::{Lookup, SharedRecord, fronts::Fronts},
};

/// The keys in use.
pub(super) struct Keys {
    format: Format,
    /// Locked for a lookup, and for the blink in which a new map takes the place of the old.
    by_digest: RwLock<DigestMap<Arc<KeyRecord>>>,
    fronts: Fronts,
    status: Mutex<FileStatus>,
    watch: FileWatch,
}

impl Keys {
    /// Reads a file for the first time.
    pub(super) fn open(path: &Arc<Path>) -> Result<Self, FileError> {
        let with_path = |fault| FileError { path: path.clone(), fault };
        let format = Format::of(path).map_err(with_path)?;
        let bytes = watched_file::read(path, Self::MAX_BYTES)
            .map_err(|fault| with_path(Fault::from(fault)))?;
        let now = SystemClock.now();
        let records = format.parse(&bytes, now).map_err(with_path)?;
        let by_digest = merge(records, &DigestMap::default());
        observe::file_loaded(path, by_digest.len());
        Ok(Self {
            format,
            status: Mutex::new(FileStatus { loaded_at: now, keys: by_digest.len(), error: None }),
            by_digest: RwLock::new(by_digest),
            fronts: Fronts::default(),
            watch: FileWatch::new(path.clone(), &bytes),
        })
    }

    #[inline]
    pub(super) fn find(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        let keys = self.by_digest.read();
        keys.get(&MapDigest::from(digest)).cloned()
    }

    #[inline]
    pub(super) fn find_shared(&self, digest: &KeyDigest) -> Lookup<SharedRecord> {
        self.fronts.find_in_memory(digest, || self.find(digest))
    }

    pub(super) fn status(&self) -> FileStatus {
        self.status.lock().clone()
    }

    /// Keeps the keys, and says why.
    fn keep_for(&self, fault: Fault) -> FileError {
        let error = FileError { path: self.watch.path().clone(), fault };
        self.status.lock().error = Some(error.clone());
        observe::file_not_loaded(error.path(), &error);
        error
    }
}

impl WatchedFile for Keys {
    const MAX_BYTES: usize = 16 * 1024 * 1024;

    type Error = FileError;

    fn watch(&self) -> &FileWatch {
        &self.watch
    }

    fn judge(&self, content: &[u8]) -> Result<(), FileError> {
        let now = SystemClock.now();
        let records = self.format.parse(content, now).map_err(|fault| self.keep_for(fault))?;
        let by_digest = {
            let old = self.by_digest.read();
            merge(records, &old)
        };
        let keys = by_digest.len();
        let old = {
            let mut current = self.by_digest.write();
            self.fronts.change(None, || mem::replace(&mut *current, by_digest))
        };
        // Freed outside the write lock: no request waits for it.
        drop(old);
        *self.status.lock() = FileStatus { loaded_at: now, keys, error: None };
        observe::file_loaded(self.watch.path(), keys);
        Ok(())
    }

    fn keep(&self, fault: ReadFault) -> FileError {
        self.keep_for(fault.into())
    }
}

/// The new keys. Those that are as they were are the old records, with whatever counts their use.
fn merge(records: Vec<KeyRecord>, old: &DigestMap<Arc<KeyRecord>>) -> DigestMap<Arc<KeyRecord>> {
    let merged = records.into_iter().map(|mut record| {
        let digest = MapDigest::from(&record.digest);
        // A key that was given another name, and so another id, is another key.
        let Some(old) = old.get(&digest).filter(|old| old.id == record.id) else {
            return (digest, Arc::new(record));
        };
        let now = mem::replace(&mut record.updated_at, old.updated_at);
        record.created_at = old.created_at;
        record.revision = old.revision;
        if record == **old {
            return (digest, old.clone());
        }
        record.updated_at = now;
        record.revision = old.next_revision(now);
        (digest, Arc::new(record))
    });
    merged.collect()
}
