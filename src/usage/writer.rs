//! [`Writer`]: collects what requests left and writes it in batches.

use std::{mem, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, Notify},
    time::timeout,
};

use super::{collected::Collected, inbox::Inbox, settings::Settings};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{HourlyUsage, UsageOutcome},
    observe,
    runtime::{Background, Mutex},
    store::{KeyRepository, KeyUse, UsageLog},
};

/// What clones of a recorder share.
pub(super) struct Writer {
    pub(super) repository: Arc<dyn KeyRepository>,
    pub(super) settings: Settings,
    pub(super) inbox: Inbox,
    /// Collected since the last write began.
    fresh: Mutex<Fresh>,
    /// Held while writing, so that writes come one after another.
    writing: Arc<AsyncMutex<Writing>>,
    background: Background,
    /// Ends the background task's wait.
    wake: Arc<Notify>,
    #[cfg(feature = "metrics")]
    lag: super::lag::Lag,
}

struct Fresh {
    collected: Collected,
    /// When this was last added to.
    at: Timestamp,
}

#[derive(Default)]
struct Writing {
    /// The counts that are being written, and those that could not be.
    collected: Collected,
    /// The hour in which old counts were last removed.
    forgotten_in: Option<Timestamp>,
}

/// Entries in one write: a statement of a few hundred kibibytes.
const BATCH: usize = 2_000;

const AN_HOUR: Duration = Duration::from_hours(1);

/// A turn of the hour that is nearer than this is not waited for by itself.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

impl Writer {
    pub(super) fn new(repository: Arc<dyn KeyRepository>, settings: Settings) -> Self {
        let fresh = Fresh { collected: Collected::default(), at: settings.clock.now() };
        Self {
            repository,
            inbox: Inbox::new(settings.client_address.clone()),
            settings,
            fresh: Mutex::new(fresh),
            writing: Arc::default(),
            background: Background::default(),
            wake: Arc::default(),
            #[cfg(feature = "metrics")]
            lag: super::lag::Lag::default(),
        }
    }

    /// Has the background task collect now.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Starts the background task if it does not run, on the runtime that serves requests. Without
    /// one, uses are written by [`flush`](Self::flush) alone.
    #[inline]
    pub(super) fn ensure_running(self: &Arc<Self>) {
        if !self.background.is_running() {
            self.start();
        }
    }

    #[cold]
    fn start(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(running) = self.background.begin() else { return };
        #[cfg(feature = "metrics")]
        self.lag.begin(self.settings.clock.now());
        let (writer, wake, mut wait) = (Arc::downgrade(self), self.wake.clone(), self.wait());
        runtime.spawn(async move {
            let _running = running;
            loop {
                // No caller waits for either of the two.
                let _ = timeout(wait, wake.notified()).await;
                let Some(writer) = writer.upgrade() else { return };
                writer.collect();
                writer.write_aside();
                wait = writer.wait();
            }
        });
    }

    /// How long until uses are collected again: the interval, or until the hour is over.
    fn wait(&self) -> Duration {
        let now = self.settings.clock.now();
        let left = HourlyUsage::hour_of(now).saturating_add(AN_HOUR).saturating_since(now);
        self.settings.interval.min(left).max(SHORTEST_WAIT)
    }

    /// Takes over what requests left.
    fn collect(&self) {
        let mut fresh = self.fresh.lock();
        let now = self.settings.clock.now();
        // Of the time in which the uses were, the middle says best in which hour most of them were.
        let since = fresh.at.max(now.saturating_sub(self.settings.interval)).min(now);
        let hour = HourlyUsage::hour_of(since.saturating_add(now.saturating_since(since) / 2));
        let keeps_hours = self.settings.keeps_hours;
        fresh.at = now;
        for record in self.inbox.take_used() {
            let count = record.uses().collect();
            let last_used_from = self.inbox.take_address(record.id);
            let key_use = KeyUse { last_used_from, ..KeyUse::new(record.id, count, now) };
            fresh.collected.add_use(key_use);
            if keeps_hours {
                let usage = HourlyUsage::of(&record, hour, UsageOutcome::Accepted, count);
                fresh.collected.hours.add(usage);
            }
        }
        let denied = self.inbox.take_denied();
        fresh.collected.hours.absorb(denied);
        self.bound(&mut fresh.collected);
    }

    fn bound(&self, collected: &mut Collected) {
        let dropped = collected.hours.drop_beyond(self.settings.most_details);
        if dropped > 0 {
            observe::usage_details_dropped(dropped);
        }
    }

    /// Writes what was collected, in a task of its own: while the repository takes its time, what
    /// requests leave goes on being collected. Nothing, if a write is going on.
    fn write_aside(self: &Arc<Self>) {
        let Ok(mut writing) = self.writing.clone().try_lock_owned() else { return };
        let writer = self.clone();
        tokio::spawn(async move {
            match writer.write(&mut writing).await {
                Ok(()) => writer.forget(&mut writing).await,
                Err(error) => observe::uses_not_written(&error),
            }
        });
    }

    /// Writes all that was counted until now.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let mut writing = self.writing.lock().await;
        self.collect();
        self.write(&mut writing).await
    }

    /// Written counts are taken off afterwards: a caller that gives up midway loses nothing.
    async fn write(&self, writing: &mut Writing) -> Result<(), StoreError> {
        #[cfg(feature = "metrics")]
        let began = self.settings.clock.now();
        let collected = &mut writing.collected;
        collected.absorb(mem::take(&mut self.fresh.lock().collected));
        self.bound(collected);
        loop {
            let batch = collected.some_uses(BATCH);
            if batch.is_empty() {
                break;
            }
            self.repository.record_uses(&batch).await?;
            collected.uses_are_written(&batch);
        }
        loop {
            let batch = collected.hours.some(BATCH);
            if batch.is_empty() {
                #[cfg(feature = "metrics")]
                self.lag.written(began);
                return Ok(());
            }
            self.usage_log()?.record_usage(&batch).await?;
            collected.hours.are_written(&batch);
        }
    }

    fn usage_log(&self) -> Result<&dyn UsageLog, StoreError> {
        self.repository.usage_log().ok_or_else(StoreError::unsupported)
    }

    /// Once in an hour, removes counts that are older than the retention.
    async fn forget(&self, writing: &mut Writing) {
        let Some(retention) = self.settings.retention else { return };
        let Ok(log) = self.usage_log() else { return };
        let now = self.settings.clock.now();
        let hour = HourlyUsage::hour_of(now);
        if writing.forgotten_in == Some(hour) {
            return;
        }
        let before = HourlyUsage::hour_of(now.saturating_sub(retention));
        match log.forget_usage(before).await {
            Ok(_) => writing.forgotten_in = Some(hour),
            Err(error) => observe::usage_not_forgotten(&error),
        }
    }
}

#[cfg(feature = "metrics")]
impl observe::FigureSource for Writer {
    fn tell(&self, told: &mut observe::Told) {
        told.flush_lag(self.lag.at(self.settings.clock.now()));
    }
}
