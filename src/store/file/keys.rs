//! [`Keys`]: the keys in use, and how a file replaces them. Everything here that reads the file
//! blocks.

use std::{fs, io::Read, mem, path::Path, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    FileStatus,
    error::{Fault, FileError, FileErrorKind},
    format::Format,
    watch::DEFAULT_INTERVAL,
};
use crate::{
    clock::{Clock, SystemClock},
    key::{KeyDigest, KeyRecord},
    observe,
    runtime::{DigestMap, MapDigest, Mutex, RwLock},
    store::{Lookup, SharedRecord, fronts::Fronts},
};

const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The keys in use.
pub(super) struct Keys {
    pub(super) path: Arc<Path>,
    format: Format,
    /// Locked for a lookup, and for the blink in which a new map takes the place of the old.
    by_digest: RwLock<DigestMap<Arc<KeyRecord>>>,
    fronts: Fronts,
    status: Mutex<FileStatus>,
    /// The file as last loaded, or found bad. Locked while the file is read, so that loads come one
    /// after another.
    judged: Mutex<Seen>,
    /// How often to look. Dropped with the keys, which ends the watching.
    pub(super) interval: watch::Sender<Duration>,
}

/// The result of a look at the file: the hash of its bytes, or why there are none.
///
/// Not its times and size: those are coarse, may be copied along by a deployment, and
/// reading a small file costs no more than asking for them.
pub(super) type Seen = Result<[u8; 32], Fault>;

impl Keys {
    /// Reads a file for the first time.
    pub(super) fn open(path: &Arc<Path>) -> Result<Self, FileError> {
        let with_path = |fault| FileError { path: path.clone(), fault };
        let format = Format::of(path).map_err(with_path)?;
        let bytes = read(path).map_err(with_path)?;
        let now = SystemClock.now();
        let records = format.parse(&bytes, now).map_err(with_path)?;
        let by_digest = merge(records, &DigestMap::default());
        observe::file_loaded(path, by_digest.len());
        Ok(Self {
            path: path.clone(),
            format,
            status: Mutex::new(FileStatus { loaded_at: now, keys: by_digest.len(), error: None }),
            by_digest: RwLock::new(by_digest),
            fronts: Fronts::default(),
            judged: Mutex::new(Ok(hash(&bytes))),
            interval: watch::Sender::new(DEFAULT_INTERVAL),
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

    /// Looks at the file, and loads it if it was the same at the `last` look, too. Returns what was
    /// seen if it has to be looked at once more.
    pub(super) fn look(&self, last: Option<&Seen>) -> Option<Seen> {
        let mut judged = self.judged.lock();
        let (seen, bytes) = see(&self.path);
        if seen == *judged {
            return None;
        }
        if last != Some(&seen) {
            return Some(seen);
        }
        // Why it may not be used is in the status.
        let _ = self.judge(&mut judged, seen, &bytes);
        None
    }

    /// Loads the file as it is.
    pub(super) fn reload(&self) -> Result<(), FileError> {
        let mut judged = self.judged.lock();
        let (seen, bytes) = see(&self.path);
        self.judge(&mut judged, seen, &bytes)
    }

    fn judge(&self, judged: &mut Seen, seen: Seen, bytes: &[u8]) -> Result<(), FileError> {
        // Before anything else, so that what goes wrong below does so once.
        judged.clone_from(&seen);
        let now = SystemClock.now();
        let records = match seen.and_then(|_| self.format.parse(bytes, now)) {
            Ok(records) => records,
            Err(fault) => return Err(self.keep(fault)),
        };
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
        observe::file_loaded(&self.path, keys);
        Ok(())
    }

    /// Keeps the keys, and says why.
    pub(super) fn keep(&self, fault: Fault) -> FileError {
        let error = FileError { path: self.path.clone(), fault };
        self.status.lock().error = Some(error.clone());
        observe::file_not_loaded(error.path(), &error);
        error
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

/// The result of a look, and the bytes if there are any.
fn see(path: &Path) -> (Seen, Vec<u8>) {
    match read(path) {
        Ok(bytes) => (Ok(hash(&bytes)), bytes),
        Err(fault) => (Err(fault), Vec::new()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(FileErrorKind::NotAFile.into());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FileErrorKind::TooLarge.into());
    }
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
