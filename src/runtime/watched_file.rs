//! [`WatchedFile`]: a file that is read again when it changes, off the threads that serve requests.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout, timeout_at},
};
use zeroize::Zeroizing;

use super::{Mutex, TaskLease, TaskSlot};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
#[cfg(feature = "file")]
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Between two looks at a file that has changed.
const SETTLE: Duration = Duration::from_millis(200);

/// Between the last look and one that was asked for.
const ASKED: Duration = Duration::from_millis(100);

/// How long a look that was asked for is waited for.
const CHECK: Duration = Duration::from_secs(1);

/// Without a look for this long, the task that watches stands still.
const STILL: Duration = Duration::from_secs(3);

/// Without a look for this long, the owner says so.
const STALE: Duration = Duration::from_secs(10);

/// How long one look at a file that settles is waited for.
const HANGS: Duration = Duration::from_secs(5);

/// How often a file is looked at until it settles.
const LOOKS: u32 = 10;

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

type Read = Result<Zeroizing<Vec<u8>>, ReadFault>;

/// The result of a look at the file: the hash of its bytes, or why there are none.
///
/// Not its times and size: those are coarse, may be copied along by a deployment, and
/// reading a small file costs no more than asking for them.
type Seen = Result<[u8; 32], ReadFault>;

/// How a file is watched, and what was last seen of it.
pub(crate) struct FileWatch {
    path: Arc<Path>,
    judged: Mutex<Judged>,
    /// Locked while the file is read, and never waited for: a reading may hang.
    reading: Mutex<()>,
    /// Dropped with the file's owner, which ends the watching.
    pace: watch::Sender<Pace>,
    /// Of the looks that were asked for, those that were done.
    answered: watch::Sender<u64>,
    task: TaskSlot,
    since: Instant,
    /// When the last reading ended, in milliseconds.
    read_at: AtomicU64,
    /// When the task that watches began, in milliseconds.
    begun_at: AtomicU64,
    #[cfg(test)]
    readings: AtomicU64,
}

/// The file as last judged.
struct Judged {
    seen: Seen,
    /// How often it was judged: a reading that began before the last time may be an older one.
    count: u64,
}

impl Judged {
    fn set(&mut self, seen: Seen) {
        self.seen = seen;
        self.count += 1;
    }
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
            judged: Mutex::new(Judged { seen: Ok(hash(content)), count: 0 }),
            reading: Mutex::default(),
            pace: watch::Sender::new(Pace { interval: DEFAULT_INTERVAL, asked: 0 }),
            answered: watch::Sender::new(0),
            task: TaskSlot::default(),
            since: Instant::now(),
            read_at: AtomicU64::new(0),
            begun_at: AtomicU64::new(0),
            #[cfg(test)]
            readings: AtomicU64::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Whether the file was not read for many intervals.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_before(&self.read_at, STALE)
    }

    /// Whether no task watches the file, or that task stands still.
    #[inline]
    fn is_left_alone(&self) -> bool {
        !self.task.is_running()
            || self.is_before(&self.read_at, STILL) && self.is_before(&self.begun_at, STILL)
    }

    fn is_before(&self, at: &AtomicU64, pause: Duration) -> bool {
        let at = self.since + Duration::from_millis(at.load(Relaxed));
        at.elapsed() > pause
    }

    fn note(&self, at: &AtomicU64) {
        let millis = self.since.elapsed().as_millis();
        at.store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    /// Reads the file, unless another reading has not ended.
    fn try_read(&self, max_bytes: usize) -> Option<Read> {
        let _reading = self.reading.try_lock()?;
        #[cfg(test)]
        self.readings.fetch_add(1, Relaxed);
        let read = read(&self.path, max_bytes);
        self.note(&self.read_at);
        Some(read)
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
#[cfg(feature = "file")]
pub(crate) async fn blocking<T: Send + 'static, E: Send + 'static>(
    f: impl FnOnce() -> Result<T, E> + Send + 'static,
    failed: impl FnOnce(ReadFault) -> E,
) -> Result<T, E> {
    spawn_blocking(f).await.unwrap_or_else(|error| Err(failed(io::Error::from(error).into())))
}

/// Reads a file until two looks, a fifth of a second apart, have seen the same. `None` is no look. An
/// error in the place of a result is no property of the file.
async fn settled(
    read: impl Fn() -> Option<Read> + Clone + Send + 'static,
) -> Result<Read, ReadFault> {
    let mut last = None;
    for _ in 0..LOOKS {
        let looked = match timeout(HANGS, spawn_blocking(read.clone())).await {
            Ok(looked) => looked.map_err(|error| ReadFault::from(io::Error::from(error)))?,
            Err(_) => return Err(ReadFault::Unreadable(io::ErrorKind::TimedOut)),
        };
        if let Some(read) = looked {
            let seen = seen(&read);
            if last == Some(seen) {
                return Ok(read);
            }
            last = Some(seen);
        }
        sleep(SETTLE).await;
    }
    Err(ReadFault::Unreadable(io::ErrorKind::ResourceBusy))
}

/// The content of a file that does not change at the moment.
pub(crate) async fn read_settled(path: Arc<Path>, max_bytes: usize) -> Read {
    settled(move || Some(read(&path, max_bytes))).await.flatten()
}

/// Judges the file as two looks have seen it. If there are none, what was judged stays.
pub(crate) async fn reload_settled<W: WatchedFile>(
    file: &Arc<W>,
) -> Result<Result<(), W::Error>, ReadFault> {
    let reading = file.clone();
    let read = settled(move || reading.watch().try_read(W::MAX_BYTES)).await?;
    let mut judged = file.watch().judged.lock();
    judged.set(seen(&read));
    Ok(judge(&**file, &read))
}

/// Watches the file on this runtime until its owner is dropped, unless it is watched already.
pub(crate) fn watch<W: WatchedFile>(file: &Arc<W>) {
    if let Some(lease) = file.watch().task.begin() {
        spawn_watch(file, lease);
    }
}

/// Watches the file on this runtime, if there is one and the file is left alone: the runtime in which
/// it was watched may have ended, or is not driven.
#[inline]
pub(crate) fn keep_watching<W: WatchedFile>(file: &Arc<W>) {
    if file.watch().is_left_alone()
        && Handle::try_current().is_ok()
        && let Some(lease) = file.watch().task.take_over()
    {
        spawn_watch(file, lease);
    }
}

fn spawn_watch<W: WatchedFile>(file: &Arc<W>, lease: TaskLease) {
    file.watch().note(&file.watch().begun_at);
    let mut pace = file.watch().pace.subscribe();
    let mut answered = *file.watch().answered.borrow();
    let file = Arc::downgrade(file);
    tokio::spawn(async move {
        // The result of the last look, if that is new.
        let mut last: Option<Seen> = None;
        let mut looked_at = Instant::now();
        while lease.is_current() {
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
            let look = look_off_thread(file.clone(), last).await;
            looked_at = Instant::now();
            last = match look {
                Look::Judged => {
                    answered = asked;
                    file.watch().answered.send_replace(asked);
                    None
                }
                Look::Changed(seen) => Some(seen),
                Look::Missed => None,
            };
        }
    });
}

/// Has a file looked at soon, and waits until what is there was judged, though not for ever. `None`
/// outside of a runtime.
pub(crate) fn check<W: WatchedFile>(file: &Arc<W>) -> Option<impl Future<Output = ()> + use<W>> {
    Handle::try_current().ok()?;
    let file = file.clone();
    Some(async move {
        keep_watching(&file);
        file.watch().check().await;
    })
}

enum Look {
    /// The file is in use as it is, or is known as one that is not.
    Judged,
    /// It has changed, and is to be looked at once more.
    Changed(Seen),
    /// It could not be looked at, or was judged meanwhile.
    Missed,
}

async fn look_off_thread<W: WatchedFile>(file: Arc<W>, last: Option<Seen>) -> Look {
    let looking = file.clone();
    match spawn_blocking(move || look(&*looking, last.as_ref())).await {
        Ok(look) => look,
        // The runtime ends, which is no fault of the file.
        Err(error) if error.is_cancelled() => Look::Missed,
        // A panic in a parser. The same file will not be parsed again.
        Err(error) => {
            file.keep(io::Error::from(error).into());
            Look::Judged
        }
    }
}

/// Looks at the file, and judges it if it was the same at the `last` look, too.
fn look<W: WatchedFile>(file: &W, last: Option<&Seen>) -> Look {
    let watch = file.watch();
    let count = watch.judged.lock().count;
    let Some(read) = watch.try_read(W::MAX_BYTES) else { return Look::Missed };
    let seen = seen(&read);
    let mut judged = watch.judged.lock();
    if judged.count != count {
        return Look::Missed;
    }
    if seen == judged.seen {
        return Look::Judged;
    }
    if last != Some(&seen) {
        return Look::Changed(seen);
    }
    // Before anything else, so that what goes wrong below does so once.
    judged.set(seen);
    // Why it may not be used is told by the owner.
    let _ = judge(file, &read);
    Look::Judged
}

/// Judges the file as it is, without a second look.
#[cfg(feature = "file")]
pub(crate) fn reload<W: WatchedFile>(file: &W) -> Result<(), W::Error> {
    let mut judged = file.watch().judged.lock();
    let read = read(&file.watch().path, W::MAX_BYTES);
    file.watch().note(&file.watch().read_at);
    judged.set(seen(&read));
    judge(file, &read)
}

fn judge<W: WatchedFile>(file: &W, read: &Read) -> Result<(), W::Error> {
    match read {
        Ok(content) => file.judge(content),
        Err(fault) => Err(file.keep(*fault)),
    }
}

fn seen(read: &Read) -> Seen {
    read.as_ref().map(|content| hash(content)).map_err(|fault| *fault)
}

/// The content of a file, which is wiped from memory afterwards.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Read {
    /// Room for a file that is small or growing: one that is moved leaves a copy behind.
    const ROOM: usize = 16 * 1024;

    // Some devices act when they are opened.
    if !fs::metadata(path)?.is_file() {
        return Err(ReadFault::NotAFile);
    }
    let (file, metadata) = open(path)?;
    let most = max_bytes.saturating_add(1);
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(len.saturating_add(1).max(ROOM).min(most)));
    file.take(most as u64).read_to_end(&mut content)?;
    if content.len() > max_bytes { Err(ReadFault::TooLarge) } else { Ok(content) }
}

/// Opens a file, also where something else has taken its place meanwhile.
fn open(path: &Path) -> Result<(fs::File, fs::Metadata), ReadFault> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(ReadFault::NotAFile) }
}

/// Opening a pipe waits for no writer. On systems that are not listed here, it may.
#[cfg(unix)]
const O_NONBLOCK: i32 = if cfg!(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "powerpc64",
        target_arch = "s390x",
    )
)) {
    0o4000
} else if cfg!(any(target_vendor = "apple", target_os = "freebsd", target_os = "openbsd")) {
    0o4
} else {
    0
};

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any content is good.
    struct Plain(FileWatch);

    impl WatchedFile for Plain {
        const MAX_BYTES: usize = 100;

        type Error = ReadFault;

        fn watch(&self) -> &FileWatch {
            &self.0
        }

        fn judge(&self, _: &[u8]) -> Result<(), ReadFault> {
            Ok(())
        }

        fn keep(&self, fault: ReadFault) -> ReadFault {
            fault
        }
    }

    fn plain(folder: &tempfile::TempDir) -> Arc<Plain> {
        let path = folder.path().join("file");
        fs::write(&path, "one").expect("a folder of the test");
        Arc::new(Plain(FileWatch::new(path.into(), b"one")))
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_ask_share_a_reading() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = plain(&folder);
        for (content, readings) in [("one", 1), ("two", 2), ("two", 1)] {
            fs::write(&*file.0.path, content).expect("a folder of the test");
            let before = file.0.readings.load(Relaxed);
            let asked = (0..100).map(|_| tokio::spawn(check(&file).expect("a runtime")));
            for asked in asked.collect::<Vec<_>>() {
                asked.await.expect("no panic");
            }
            assert_eq!(file.0.readings.load(Relaxed) - before, readings, "{content}");
        }
    }

    /// No call waits for it for ever, and no other reading is added to it.
    #[tokio::test(start_paused = true)]
    async fn a_reading_that_hangs() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = plain(&folder);
        watch(&file);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let hanging = file.clone();
        let hangs = std::thread::spawn(move || {
            let _reading = hanging.0.reading.lock();
            locked.send(()).expect("the test listens");
            released.recv().expect("the test goes on");
        });
        is_locked.recv().expect("the thread runs");
        let start = Instant::now();
        check(&file).expect("a runtime").await;
        assert!((CHECK..CHECK * 2).contains(&start.elapsed()));
        let busy = ReadFault::Unreadable(io::ErrorKind::ResourceBusy);
        assert_eq!(reload_settled(&file).await.expect_err("it hangs"), busy);
        assert!(!file.0.is_stale());
        sleep(STALE).await;
        keep_watching(&file);
        assert!(file.0.is_stale());
        assert_eq!(file.0.readings.load(Relaxed), 0);
        release.send(()).expect("the thread runs");
        hangs.join().expect("no panic");
        check(&file).expect("a runtime").await;
        assert!(!file.0.is_stale());
    }

    /// Also where it takes the place of the file after that was looked at.
    #[cfg(unix)]
    #[test]
    fn opening_a_pipe_does_not_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(open(&path).err()));
        let opened = receiver.recv_timeout(Duration::from_mins(1));
        assert_eq!(opened, Ok(Some(ReadFault::NotAFile)));
    }
}
