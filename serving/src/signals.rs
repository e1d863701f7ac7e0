//! [`Signals`].

use std::io;
#[cfg(unix)]
use std::{fs, time::Duration};

#[cfg(unix)]
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// For so long after the first signal, further ones are the same: a supervisor signals the process and its
/// group, `timeout` does, and a shell may, too.
#[cfg(unix)]
const REPEATED_WITHIN: Duration = Duration::from_secs(1);

/// SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is gone), which ask a server to finish and end. From when
/// this exists, they no longer end the process by themselves. A SIGHUP that `nohup` has the process ignore is
/// still ignored, where the system tells of it (Linux).
#[derive(Debug)]
#[cfg(unix)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
    first: Option<Instant>,
}

#[cfg(unix)]
impl Signals {
    /// Listens for them from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses to tell of them.
    pub fn new() -> io::Result<Self> {
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
            first: None,
        })
    }

    /// Waits for the next of any. Those within a second of the first are passed over.
    pub async fn received(&mut self) {
        loop {
            let hung_up = async {
                match &mut self.hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = hung_up => {}
            }
            let now = Instant::now();
            match self.first {
                Some(first) if now.duration_since(first) < REPEATED_WITHIN => {}
                _ => {
                    self.first.get_or_insert(now);
                    return;
                }
            }
        }
    }
}

/// Whether the process was started with SIGHUP ignored. To listen for it would undo that.
#[cfg(unix)]
fn ignores_hang_up() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit for each signal, from the lowest.
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & 1 != 0)
}

/// Ctrl-C, which asks a server to finish and end: elsewhere than on Unix there is no other signal.
#[derive(Debug)]
#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Listens for them from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses to tell of them.
    pub fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next.
    pub async fn received(&mut self) {
        // An error means that there will never be a signal.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
