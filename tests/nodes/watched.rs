//! [`Watched`]: a bus that tells the test how far its listener has come.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::watch, time::timeout};
use tower_api_key::store::{Announcement, Invalidations, StoreError, Subscription};

/// Far longer than anything takes, even on a machine that is busy with something else.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

/// What a listener has done with a bus so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Attempts to subscribe. Before one after the first, a loss was taken note of.
    pub(crate) attempts: usize,
    /// Subscriptions that are or were listened to.
    pub(crate) subscriptions: usize,
    /// Messages that were heard and acted on.
    pub(crate) heard: usize,
}

/// A bus that keeps a record of its listener's [`Progress`].
#[derive(Clone)]
pub(crate) struct Watched {
    bus: Arc<dyn Invalidations>,
    progress: watch::Sender<Progress>,
}

impl Watched {
    pub(crate) fn new(bus: Arc<dyn Invalidations>) -> Self {
        Self { bus, progress: watch::Sender::new(Progress::default()) }
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits until the listener has come so far.
    pub(crate) async fn until(&self, so_far: impl FnMut(&Progress) -> bool) {
        let mut progress = self.progress.subscribe();
        let waited = timeout(TIMEOUT, progress.wait_for(so_far)).await;
        assert!(waited.is_ok(), "the listener got no further than {:?}", self.progress());
    }
}

#[async_trait]
impl Invalidations for Watched {
    async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
        self.bus.publish(announcement).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        self.progress.send_modify(|progress| progress.attempts += 1);
        let subscription = self.bus.subscribe().await?;
        let progress = self.progress.clone();
        Ok(Box::new(Watching { subscription, progress, state: State::Fresh }))
    }
}

struct Watching {
    subscription: Box<dyn Subscription>,
    progress: watch::Sender<Progress>,
    state: State,
}

/// What the next call of `next` tells about the listener.
enum State {
    /// It did what it does before it listens.
    Fresh,
    /// It has acted on a message.
    Heard,
}

#[async_trait]
impl Subscription for Watching {
    async fn next(&mut self) -> Result<Announcement, StoreError> {
        self.progress.send_modify(|progress| match self.state {
            State::Fresh => progress.subscriptions += 1,
            State::Heard => progress.heard += 1,
        });
        self.state = State::Heard;
        self.subscription.next().await
    }
}
