//! A bus of one listener, whose subscription is lost when the model says so. A listener that asks for the
//! next message is done with the last one, and one that subscribes anew is done with the loss.

use std::{collections::VecDeque, sync::Arc};

use shuttle::rand::{Rng, thread_rng};
use tokio::{sync::Notify, task::yield_now};

use super::{
    pause,
    rows::{Rows, Version},
};
use crate::{
    runtime::{Mutex, async_methods},
    store::{Announcement, Invalidations, StoreError, Subscription},
};

pub(super) struct Bus(Arc<Line>);

struct Line {
    rows: Arc<Rows>,
    state: Mutex<State>,
    has_changed: Notify,
}

#[derive(Default)]
struct State {
    is_subscribed: bool,
    /// With the version of the row that each announces.
    messages: VecDeque<(Announcement, Version)>,
    /// No attempt to subscribe succeeds.
    is_broken: bool,
    /// What the row was when the latest subscription was found to be lost.
    lost_at: Version,
}

impl Bus {
    pub(super) fn new(rows: Arc<Rows>) -> Self {
        Self(Arc::new(Line { rows, state: Mutex::default(), has_changed: Notify::new() }))
    }

    /// Ends the subscription if there is one, with all messages that were not heard yet. There is no other
    /// until it is [repaired](Self::repair).
    pub(super) fn lose(&self) {
        let mut state = self.0.state.lock();
        state.is_subscribed = false;
        state.messages.clear();
        state.is_broken = true;
        drop(state);
        self.0.has_changed.notify_one();
    }

    pub(super) fn repair(&self) {
        self.0.state.lock().is_broken = false;
    }
}

impl Line {
    /// What the row is by now, if there is a subscription.
    fn subscribe(&self) -> Option<Version> {
        let mut state = self.state.lock();
        state.is_subscribed = !state.is_broken;
        state.is_subscribed.then(|| self.rows.newest())
    }

    fn publish(&self, announcement: &Announcement) {
        let mut state = self.state.lock();
        if state.is_subscribed {
            state.messages.push_back((announcement.clone(), self.rows.newest()));
        }
        drop(state);
        self.has_changed.notify_one();
    }

    /// `None`: there is none yet.
    fn next(&self) -> Option<Result<(Announcement, Version), StoreError>> {
        let mut state = self.state.lock();
        if !state.is_subscribed {
            state.lost_at = self.rows.newest();
            return Some(Err(lost()));
        }
        state.messages.pop_front().map(Ok)
    }
}

fn lost() -> StoreError {
    StoreError::unavailable("the connection is lost")
}

impl Invalidations for Bus {
    async_methods! {
        async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
            self.0.publish(announcement);
            Ok(())
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
            // The loss of the last one was looked after.
            let lost_at = self.0.state.lock().lost_at;
            self.0.rows.tell(lost_at);
            let is_refused = thread_rng().r#gen();
            pause().await;
            let known = loop {
                match self.0.subscribe() {
                    Some(known) => break known,
                    None if is_refused => return Err(lost()),
                    None => yield_now().await,
                }
            };
            pause().await;
            Ok(Box::new(Subscribed { line: self.0.clone(), known }) as Box<dyn Subscription>)
        }
    }
}

struct Subscribed {
    line: Arc<Line>,
    /// What the listener knows of once it comes for the next message.
    known: Version,
}

impl Subscription for Subscribed {
    async_methods! {
        async fn next(&mut self) -> Result<Announcement, StoreError> {
            self.line.rows.tell(self.known);
            loop {
                if let Some(next) = self.line.next() {
                    let (announcement, version) = next?;
                    self.known = version;
                    return Ok(announcement);
                }
                self.line.has_changed.notified().await;
            }
        }
    }
}
