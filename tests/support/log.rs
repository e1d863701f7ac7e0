//! [`Log`]: the events of the crate, kept in memory.
//!
//! `tracing` remembers for the whole process whether there is a subscriber for an event, so tests that listen
//! have processes of their own.
#![allow(dead_code, reason = "not all programs of tests ask for all of it")]

use std::{
    io, mem,
    sync::{Arc, Mutex},
};

use tower_api_key::KeyHasher;
use tracing::{Subscriber, subscriber::DefaultGuard};
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, util::SubscriberInitExt};

/// Keeps what is written, for all clones.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// How many lines of this level hold this text.
    pub(crate) fn count(&self, level: &str, text: &str) -> usize {
        let log = self.text();
        log.lines().filter(|line| line.contains(level) && line.contains(text)).count()
    }

    /// The lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        let text = String::from_utf8(mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// For this thread, which must be the only one of its runtime.
    pub(crate) fn listen(&self) -> DefaultGuard {
        self.listen_from(LevelFilter::TRACE)
    }

    /// The same, from this level up.
    pub(crate) fn listen_from(&self, level: LevelFilter) -> DefaultGuard {
        self.subscriber(level).set_default()
    }

    /// The subscriber that keeps what is written, for one thread or for all.
    pub(crate) fn subscriber(&self, level: LevelFilter) -> impl Subscriber + Send + Sync + use<> {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(self.clone());
        subscriber.finish()
    }

    /// There is nothing of this key, nor a part of it that would be worth having.
    pub(crate) fn assert_holds_nothing_of(&self, secret: &str) {
        let log = self.text();
        assert!(!log.contains(secret), "{secret} in {log}");
        assert!(!log.contains(&secret[secret.len() - 12..]), "{secret} in {log}");
        let digest = KeyHasher::sha256().digest(secret).to_hex();
        assert!(!log.contains(&digest), "{digest} in {log}");
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}
