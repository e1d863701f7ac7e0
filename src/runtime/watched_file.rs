//! [`WatchedFile`]: a file that is read again when it changes, off the threads that serve requests.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use zeroize::Zeroizing;

use super::{Background, Mutex};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
#[cfg(feature = "file")]
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Between two looks at a file that has changed.
const SETTLE: Duration = Duration::from_millis(200);

/// Between the last look and one that was asked for.
const ASKED: Duration = Duration::from_millis(100);

/// How long a look that was asked for is waited for.
const CHECK: Duration = Duration::from_secs(1);

/// No interval is longer. [`Instant`] ends somewhere.
#[cfg(feature = "file")]
const YEARS: Duration = Duration::from_hours(24 * 365 * 30);

/// What is kept of a file, and replaced when the file has changed.
pub(crate) trait WatchedFile: Send + Sync + 'static {
    /// No larger file is read.
    const MAX_BYTES: usize;

    /// Why a file cannot be used.
    type Error: Send + 'static;

    /// How the file is watched.
    fn watch(&self) -> &FileWatch;

    /// Puts the content into use, or keeps what is there, and says why. May block.
    fn judge(&self, content: &[u8]) -> Result<(), Self::Error>;

    /// Keeps what is there, because of this.
    fn keep(&self, fault: ReadFault) -> Self::Error;
}

/// The reason for which there is no content to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFault {
    /// It is a directory, a pipe or the like.
    NotAFile,
    /// It is missing, or may not be read.
    Unreadable(io::ErrorKind),
    /// It is larger than the most that is read.
    TooLarge,
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.kind())
    }
}

/// The result of a look at the file: the hash of its bytes, or why there are none.
///
/// Not its times and size: those are coarse, may be copied along by a deployment, and
/// reading a small file costs no more than asking for them.
type Seen = Result<[u8; 32], ReadFault>;

/// How a file is watched, and what was last seen of it.
pub(crate) struct FileWatch {
    path: Arc<Path>,
    /// The file as last judged. Locked while the file is read, so that judgements come one after
    /// another.
    judged: Mutex<Seen>,
    /// Dropped with the file's owner, which ends the watching.
    pace: watch::Sender<Pace>,
    /// Of the looks that were asked for, those that were done.
    answered: watch::Sender<u64>,
    background: Background,
}

#[derive(Clone, Copy)]
struct Pace {
    interval: Duration,
    /// How many looks were asked for.
    asked: u64,
}

impl FileWatch {
    /// Of a file whose content is in use.
    pub(crate) fn new(path: Arc<Path>, content: &[u8]) -> Self {
        Self {
            path,
            judged: Mutex::new(Ok(hash(content))),
            pace: watch::Sender::new(Pace { interval: DEFAULT_INTERVAL, asked: 0 }),
            answered: watch::Sender::new(0),
            background: Background::default(),
        }
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Whether it is watched.
    pub(crate) fn is_running(&self) -> bool {
        self.background.is_running()
    }

    #[cfg(feature = "file")]
    pub(crate) fn set_interval(&self, interval: Duration) {
        let interval = interval.clamp(MIN_INTERVAL, YEARS);
        self.pace.send_modify(|pace| pace.interval = interval);
    }

    /// Asks for a look soon, and waits until what is there was judged, though not for ever.
    async fn check(&self) {
        let mut ticket = 0;
        self.pace.send_modify(|pace| {
            pace.asked += 1;
            ticket = pace.asked;
        });
        let mut answered = self.answered.subscribe();
        // Late or not, the request goes on.
        let _ = timeout(CHECK, answered.wait_for(|answered| *answered >= ticket)).await;
    }
}

/// Reads the file with `f` where blocking delays no other task.
pub(crate) async fn blocking<T: Send + 'static, E: Send + 'static>(
    f: impl FnOnce() -> Result<T, E> + Send + 'static,
    failed: impl FnOnce(ReadFault) -> E,
) -> Result<T, E> {
    spawn_blocking(f).await.unwrap_or_else(|error| Err(failed(io::Error::from(error).into())))
}

/// Watches the file on this runtime until its owner is dropped, unless it is watched already.
pub(crate) fn watch<W: WatchedFile>(file: &Arc<W>) {
    let Some(running) = file.watch().background.begin() else { return };
    let mut pace = file.watch().pace.subscribe();
    let mut answered = *file.watch().answered.borrow();
    let file = Arc::downgrade(file);
    tokio::spawn(async move {
        let _running = running;
        // The result of the last look, if that is new.
        let mut last: Option<Seen> = None;
        let mut looked_at = Instant::now();
        loop {
            let Pace { interval, asked } = *pace.borrow_and_update();
            let wait = match last {
                // Also where another look is asked for: a file is looked at twice.
                Some(_) => SETTLE.min(interval),
                None if asked > answered => ASKED.min(interval),
                None => interval,
            };
            let next = looked_at + wait;
            if Instant::now() < next {
                match timeout_at(next, pace.changed()).await {
                    Err(_) => {}
                    Ok(Ok(())) => continue,
                    // The owner is gone.
                    Ok(Err(_)) => return,
                }
            }
            let Some(file) = Weak::upgrade(&file) else { return };
            last = look_off_thread(file.clone(), last).await;
            looked_at = Instant::now();
            if last.is_none() {
                answered = asked;
                file.watch().answered.send_replace(asked);
            }
        }
    });
}

/// Has a file looked at soon, and waits until what is there was judged, though not for ever.
pub(crate) async fn check<W: WatchedFile>(file: Arc<W>) {
    watch(&file);
    file.watch().check().await;
}

async fn look_off_thread<W: WatchedFile>(file: Arc<W>, last: Option<Seen>) -> Option<Seen> {
    let looking = file.clone();
    match spawn_blocking(move || look(&*looking, last.as_ref())).await {
        Ok(seen) => seen,
        // A panic in a parser. The same file will not be parsed again.
        Err(error) => {
            file.keep(io::Error::from(error).into());
            None
        }
    }
}

/// Looks at the file, and judges it if it was the same at the `last` look, too. Returns what was
/// seen if it has to be looked at once more.
fn look<W: WatchedFile>(file: &W, last: Option<&Seen>) -> Option<Seen> {
    let mut judged = file.watch().judged.lock();
    let read = read(&file.watch().path, W::MAX_BYTES);
    let seen = seen(&read);
    if seen == *judged {
        return None;
    }
    if last != Some(&seen) {
        return Some(seen);
    }
    // Before anything else, so that what goes wrong below does so once.
    *judged = seen;
    // Why it may not be used is told by the owner.
    let _ = judge(file, &read);
    None
}

/// Judges the file as it is, without a second look.
pub(crate) fn reload<W: WatchedFile>(file: &W) -> Result<(), W::Error> {
    let mut judged = file.watch().judged.lock();
    let read = read(&file.watch().path, W::MAX_BYTES);
    *judged = seen(&read);
    judge(file, &read)
}

fn judge<W: WatchedFile>(
    file: &W,
    read: &Result<Zeroizing<Vec<u8>>, ReadFault>,
) -> Result<(), W::Error> {
    match read {
        Ok(content) => file.judge(content),
        Err(fault) => Err(file.keep(*fault)),
    }
}

fn seen(read: &Result<Zeroizing<Vec<u8>>, ReadFault>) -> Seen {
    read.as_ref().map(|content| hash(content)).map_err(|fault| *fault)
}

/// The content of a file, which is wiped from memory afterwards.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Zeroizing<Vec<u8>>, ReadFault> {
    /// Room for a file that is small or growing: one that is moved leaves a copy behind.
    const ROOM: usize = 16 * 1024;

    // Opening a pipe would wait for a writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(ReadFault::NotAFile);
    }
    let most = max_bytes.saturating_add(1);
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(len.saturating_add(1).max(ROOM).min(most)));
    fs::File::open(path)?.take(most as u64).read_to_end(&mut content)?;
    if content.len() > max_bytes { Err(ReadFault::TooLarge) } else { Ok(content) }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
