//! The activity of a connection, and until when it may go on like this.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How long a connection stays that has no request. Pings are none.
pub(crate) const IDLE: Duration = Duration::from_mins(1);

/// Shared by a connection, its requests, and the slots, which ask it to make way for another.
pub(crate) struct Activity {
    state: Mutex<State>,
    /// Tells the connection that it is to leave.
    leave: Notify,
    /// Tells the slots that it is idle, and may make way.
    changed: Arc<Notify>,
}

struct State {
    has_asked: bool,
    /// Those whose answer is not sent yet.
    requests: usize,
    /// Of those, the ones that are answered but for a rest of their body, which is taken from the network.
    discarding: usize,
    /// Of those, the ones whose answer is on its way, and when a part of it was last taken.
    sending: HashMap<u64, Instant>,
    next: u64,
    /// Whether the network has not taken all that was written. The last part of an answer over
    /// HTTP/1 waits like this when its request is gone already.
    writing: bool,
    /// When a request last came or ended, or a write began or ended to wait.
    since: Instant,
    is_leaving: bool,
}

/// Why a connection ends before its client wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has sent no request in the time for a head.
    Silent,
    /// It had no request for long.
    Idle,
    /// It takes nothing of an answer.
    Stalled,
}

impl Activity {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        let since = Instant::now();
        let state = State {
            has_asked: false,
            requests: 0,
            discarding: 0,
            sending: HashMap::new(),
            next: 0,
            writing: false,
            since,
            is_leaving: false,
        };
        Self { state: Mutex::new(state), leave: Notify::new(), changed }
    }

    /// Until when it may go on like this, and its end then. Without an `End` there is nothing
    /// to wait for but the server itself.
    pub(crate) fn due(&self, client_timeout: Duration) -> (Instant, Option<End>) {
        let state = self.state();
        if !state.has_asked {
            (state.since + client_timeout, Some(End::Silent))
        } else if state.is_idle() {
            (state.since + IDLE, Some(End::Idle))
        } else if let Some(longest) = state.sending.values().min() {
            // Every answer here is ready as a whole, so it is the client that does not take it. What
            // else goes on does not keep the connection.
            (*longest + client_timeout, Some(End::Stalled))
        } else {
            // A write that waits has a time of its own, see `Stalling`.
            (Instant::now() + client_timeout, None)
        }
    }

    /// How well it may make way for another connection, the smallest first; `None` while it may not. Without a
    /// request, by how long there was none. After those, with nothing but bodies to discard: such a client loses an
    /// answer, and could otherwise hold its slot with bodies that do not come.
    pub(super) fn may_leave(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        state.may_leave().then_some((!state.is_idle(), state.since))
    }

    pub(super) fn ask_to_leave(&self) {
        self.state().is_leaving = true;
        self.leave.notify_one();
    }

    /// Whether it was asked to, and no request came between.
    pub(super) fn is_leaving(&self) -> bool {
        self.state().is_leaving
    }

    /// Whether the network has taken all that was written, or not yet.
    pub(super) fn writes(&self, writing: bool) {
        let mut state = self.state();
        if state.writing != writing {
            state.writing = writing;
            if state.has_asked {
                state.since = Instant::now();
            }
            state.is_leaving = false;
            self.tell_if_it_may_leave(&state);
        }
    }

    fn tell_if_it_may_leave(&self, state: &State) {
        if state.may_leave() {
            self.changed.notify_one();
        }
    }

    /// Waits until it is to leave.
    pub(super) async fn asked_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.is_leaving() {
                return;
            }
        }
    }

    /// A request has come. It is there until this is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        state.has_asked = true;
        state.requests += 1;
        state.since = Instant::now();
        state.is_leaving = false;
        let id = state.next;
        state.next += 1;
        Busy { activity: self.clone(), id }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.requests == 0 && !self.writing
    }

    fn may_leave(&self) -> bool {
        self.requests == self.discarding && !self.writing
    }
}

/// A request that is being answered.
pub(super) struct Busy {
    activity: Arc<Activity>,
    id: u64,
}

impl Busy {
    /// Only a rest of the body is waited for, until this is dropped.
    pub(super) fn discards(&self) -> Discarding<'_> {
        let mut state = self.activity.state();
        state.discarding += 1;
        self.activity.tell_if_it_may_leave(&state);
        Discarding { activity: &self.activity }
    }

    /// A part of the answer was taken, or all of it is ready.
    pub(super) fn sends(&self) {
        self.activity.state().sending.insert(self.id, Instant::now());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.requests -= 1;
        state.sending.remove(&self.id);
        state.since = Instant::now();
        self.activity.tell_if_it_may_leave(&state);
    }
}

/// A body of which a rest is taken from the network.
pub(super) struct Discarding<'b> {
    activity: &'b Activity,
}

impl Drop for Discarding<'_> {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.discarding -= 1;
        // It has an answer to send now.
        state.is_leaving = false;
    }
}
