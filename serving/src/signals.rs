//! [`Signals`].

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT (Ctrl-C) and SIGTERM, which ask a server to finish and end. From when this exists, they no longer
/// end the process by themselves.
#[derive(Debug)]
#[cfg(unix)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens for them from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses to tell of them.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of either.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
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
