//! The lookup budget: how many lookups that find nothing the store is asked for in a second.
//!
//! A lookup that finds its key costs nothing, and until the store has answered, the cache cannot
//! tell which kind a lookup is. So a lookup reserves a token when it begins. When it ends, the
//! token is spent unless the key was found. A reservation needs a token that no other lookup holds,
//! hence even if all lookups under way find nothing, the store was not asked for more than the
//! budget. When all tokens are held, further lookups wait for one to end, or for the time that
//! brings another token; when all are spent, they are refused.
//!
//! During a change of peppers, a key is looked up by several digests, and is unknown only when all
//! of them are. So one reservation holds a token for each of these lookups, and ends with the last
//! of them.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, Notify, oneshot},
    time::timeout,
};

use crate::{
    clock::{Clock, Timestamp},
    runtime::{
        Mutex, Waiter,
        sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

/// A token bucket that holds a second's worth, and the lookups that wait for a token.
pub(super) struct Budget {
    state: Mutex<State>,
    nanos_per_lookup: i64,
    /// How far ahead `full_at` is when the bucket is empty.
    nanos_when_empty: i64,
    clock: Arc<dyn Clock>,
    /// Held by the one lookup, of those that wait, that watches the clock for all of them.
    watch: AsyncMutex<()>,
    /// Tells the lookup on watch that a reservation has ended.
    released: Notify,
}

struct State {
    /// The moment at which the bucket will be full again if nothing is spent (the "theoretical
    /// arrival time" of the generic cell rate algorithm), in nanoseconds since the Unix epoch.
    full_at: i64,
    /// Tokens that are held by lookups under way.
    reserved: i64,
    waiting: VecDeque<Ticket>,
}

struct Ticket {
    lookups: u32,
    turn: oneshot::Sender<Turn>,
}

/// Tokens, or none where all are spent.
type Turn = Option<Arc<Reservation>>;

/// How many lookups may wait for a token. One that waits takes about a kilobyte.
const MAX_WAITING: usize = 10_000;

const SECOND: i64 = 1_000_000_000;

/// The answer of the budget to a lookup that would begin.
pub(super) enum Admission {
    Granted(Arc<Reservation>),
    /// All tokens are held. Yields a reservation in [turn](Budget::wait_for), or none when all
    /// tokens are spent.
    Queued(oneshot::Receiver<Turn>),
    /// An earlier lookup of the same key waits for tokens, also for so many others of its own.
    Shared(Waiter<Weak<Reservation>>, u32),
    Refused,
}

/// The room that is left in the bucket.
#[derive(PartialEq, Eq)]
enum Room {
    Free,
    /// So many tokens are held, and may come back.
    Held,
    /// There are not so many tokens.
    Spent,
}

impl Budget {
    pub(super) fn new(per_second: NonZeroU32, clock: Arc<dyn Clock>) -> Arc<Self> {
        let per_second = i64::from(per_second.get());
        // Rounded up: rather a hair less than was allowed than a hair more.
        let nanos_per_lookup = (SECOND - 1) / per_second + 1;
        Arc::new(Self {
            state: Mutex::new(State { full_at: 0, reserved: 0, waiting: VecDeque::new() }),
            nanos_per_lookup,
            nanos_when_empty: nanos_per_lookup * per_second,
            clock,
            watch: AsyncMutex::new(()),
            released: Notify::new(),
        })
    }

    /// Reserves tokens for all the lookups that one key may need, or a place in the queue for
    /// them. A bucket that is smaller than that is reserved as a whole.
    pub(super) fn admit(self: &Arc<Self>, lookups: u32) -> Admission {
        let now = self.now();
        let mut state = self.state.lock();
        match self.room(&state, lookups, now) {
            // Waiting lookups come first.
            Room::Free if state.waiting.is_empty() => {
                Admission::Granted(Reservation::new(self, &mut state, lookups))
            }
            Room::Free | Room::Held => {
                if state.waiting.len() >= MAX_WAITING {
                    state.waiting.retain(|ticket| !ticket.turn.is_closed());
                }
                if state.waiting.len() >= MAX_WAITING {
                    return Admission::Refused;
                }
                let (turn, receiver) = oneshot::channel();
                state.waiting.push_back(Ticket { lookups, turn });
                Admission::Queued(receiver)
            }
            Room::Spent => Admission::Refused,
        }
    }

    /// Waits for tokens; none when all are spent.
    pub(super) async fn reserve(self: &Arc<Self>, admission: Admission) -> Turn {
        let mut admission = admission;
        loop {
            match admission {
                Admission::Granted(reservation) => return Some(reservation),
                Admission::Queued(turn) => return self.wait_for(turn).await,
                Admission::Shared(mut earlier, lookups) => {
                    let reservation = earlier.answer().await.and_then(|earlier| earlier.upgrade());
                    let claimed = reservation.filter(|held| held.is_of(self) && held.claim());
                    admission = claimed.map_or_else(|| self.admit(lookups), Admission::Granted);
                }
                Admission::Refused => return None,
            }
        }
    }

    /// Waits for the turn of a lookup that was queued. One of the waiting ones watches the clock,
    /// until its own turn comes.
    pub(super) async fn wait_for(self: &Arc<Self>, mut turn: oneshot::Receiver<Turn>) -> Turn {
        let mut watch = pin!(self.watch_clock());
        poll_fn(|cx| {
            if let Poll::Ready(turn) = Pin::new(&mut turn).poll(cx) {
                return Poll::Ready(turn.ok().flatten());
            }
            // It never ends. If it hands this lookup its turn, that wakes this task.
            watch.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    async fn watch_clock(self: &Arc<Self>) {
        let _watch = self.watch.lock().await;
        loop {
            let released = self.released.notified();
            match self.hand_out() {
                Some(due) => drop(timeout(due, released).await),
                None => released.await,
            }
        }
    }

    /// Gives tokens to the lookups whose turn it is. Returns how long it is until time brings those
    /// that the next one waits for; none if only the end of a lookup can bring them.
    fn hand_out(self: &Arc<Self>) -> Option<Duration> {
        let now = self.now();
        let mut state = self.state.lock();
        let turns = self.turns(&mut state, now);
        let due = state.waiting.front().and_then(|next| {
            let left = self.nanos_when_empty
                - (state.reserved + self.tokens(next.lookups)) * self.nanos_per_lookup;
            (left >= 0).then(|| self.full_at(&state, now) - left - now)
        });
        drop(state);
        send(turns);
        due.map(|nanos| Duration::from_nanos(nanos.max(1).unsigned_abs()))
    }

    fn room(&self, state: &State, lookups: u32, now: i64) -> Room {
        let tokens = self.tokens(lookups);
        let spent = (self.full_at(state, now) - now).max(0);
        let left = (self.nanos_when_empty - spent) / self.nanos_per_lookup;
        if left >= state.reserved + tokens {
            Room::Free
        } else if left >= tokens {
            Room::Held
        } else {
            Room::Spent
        }
    }

    fn full_at(&self, state: &State, now: i64) -> i64 {
        // No spending goes as far ahead as this: the clock was set back, and the bucket must not
        // stay closed until it has caught up. A thread that read the clock just before another one
        // is not mistaken for that.
        let set_back = state.full_at - now > self.nanos_when_empty + SECOND;
        if set_back { now } else { state.full_at }
    }

    /// How many tokens so many lookups take: no more than a full bucket holds.
    fn tokens(&self, lookups: u32) -> i64 {
        i64::from(lookups).min(self.nanos_when_empty / self.nanos_per_lookup)
    }

    /// Ends a reservation, and tells the lookups whose turn it is.
    fn release(self: &Arc<Self>, lookups: u32, spent: u32) {
        let now = self.now();
        let mut state = self.state.lock();
        state.reserved -= self.tokens(lookups);
        if spent > 0 {
            let spent = self.tokens(spent) * self.nanos_per_lookup;
            state.full_at = self.full_at(&state, now).max(now) + spent;
        }
        let turns = self.turns(&mut state, now);
        let is_awaited = !state.waiting.is_empty();
        drop(state);
        send(turns);
        if is_awaited {
            self.released.notify_one();
        }
    }

    /// Takes the lookups whose turn it is out of the queue.
    fn turns(self: &Arc<Self>, state: &mut State, now: i64) -> Vec<(Ticket, Turn)> {
        let mut turns = Vec::new();
        while let Some(next) = state.waiting.front() {
            let (lookups, is_closed) = (next.lookups, next.turn.is_closed());
            let room = self.room(state, lookups, now);
            if !is_closed && room == Room::Held {
                break;
            }
            let Some(ticket) = state.waiting.pop_front() else { break };
            if !is_closed {
                let is_free = room == Room::Free;
                turns.push((ticket, is_free.then(|| Reservation::new(self, state, lookups))));
            }
        }
        turns
    }

    fn now(&self) -> i64 {
        nanos(self.clock.now())
    }
}

/// Not under the lock: a lookup that stopped waiting just now drops its reservation, and so
/// releases it.
fn send(turns: Vec<(Ticket, Turn)>) {
    for (ticket, turn) in turns {
        drop(ticket.turn.send(turn));
    }
}

fn nanos(time: Timestamp) -> i64 {
    time.as_unix_millis().saturating_mul(1_000_000)
}

/// Tokens that the lookups of one key hold. Dropped when the last of them has ended, however it
/// ends.
pub(super) struct Reservation {
    budget: Arc<Budget>,
    lookups: u32,
    /// How many of the lookups are taken: those that were begun, and those that will be.
    claimed: AtomicU32,
    /// How often the store was asked.
    begun: AtomicU32,
    is_found: AtomicBool,
}

impl Reservation {
    fn new(budget: &Arc<Budget>, state: &mut State, lookups: u32) -> Arc<Self> {
        state.reserved += budget.tokens(lookups);
        let (begun, is_found) = (AtomicU32::new(0), AtomicBool::new(false));
        let claimed = AtomicU32::new(1);
        Arc::new(Self { budget: budget.clone(), lookups, claimed, begun, is_found })
    }

    /// Takes another of its lookups; false if there is none left. Many requests may share a
    /// reservation, and where the store fails, each would ask it again.
    pub(super) fn claim(&self) -> bool {
        let next = |claimed| (claimed < self.lookups).then_some(claimed + 1);
        self.claimed.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// The store is asked now. From here on a token is spent unless the key is
    /// [found](Self::found): an error does not say that there is such a key.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// The key exists, so that none of its lookups costs anything.
    pub(super) fn found(&self) {
        self.is_found.store(true, Relaxed);
    }

    /// Whether other lookups may yet find the key.
    pub(super) const fn is_for_several(&self) -> bool {
        self.lookups > 1
    }

    pub(super) fn is_of(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let spent = if *self.is_found.get_mut() { 0 } else { *self.begun.get_mut() };
        self.budget.release(self.lookups, spent);
    }
}

#[cfg(test)]
mod tests;
