//! The lookup budget: how many lookups that find nothing the store is asked for in a second.
//!
//! A lookup that finds its key costs nothing, and until the store has answered, the cache cannot
//! tell which kind a lookup is. So a lookup reserves a token when it begins. When it ends, the
//! token is spent unless the key was found. A reservation needs a token that no other lookup holds,
//! hence even if all lookups under way find nothing, the store was not asked for more than the
//! budget. When all tokens are held, further lookups wait for one to end, or for the time that
//! brings another token; when all are spent, they are refused.
//!
//! Lookups have ranks. Each takes a token from the bucket of the whole budget. An unlisted one
//! takes another from a second, smaller bucket, so that it finds no token there before it could
//! touch what is reserved for listed ones. A listed one goes before all others, and waits also where
//! all tokens are spent.
//!
//! Unlisted lookups are counted by network as well. A network that has had its share takes from the
//! upper half of the second bucket alone: it gets all that the others leave, and they find the lower
//! half.
//!
//! During a change of peppers, a key is looked up by several digests, and is unknown only when all
//! of them are. So one reservation holds a token for each of these lookups, and ends with the last
//! of them.

mod bucket;
mod networks;

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

use self::{
    bucket::{Bucket, Rate, Room},
    networks::Networks,
};
use crate::{
    clock::Clock,
    runtime::{
        Mutex, Waiter,
        sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

/// On whose behalf a lookup asks for tokens.
#[derive(Clone, Copy, Default)]
pub(crate) struct Claim {
    pub(crate) rank: Rank,
    /// Of the client, where it is known: a number that tells it from other networks.
    pub(crate) network: Option<u64>,
}

/// How likely it is that the thing exists, the least likely first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// There is no such thing, as far as is known.
    Unlisted,
    /// Nothing is known.
    #[default]
    Unranked,
    /// Most probably there is.
    Listed,
}

/// Tokens by the second, and the lookups that wait for some.
pub(super) struct Budget {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// Held by the one lookup, of those that wait, that watches the clock for all of them.
    watch: AsyncMutex<()>,
    /// Tells the lookup on watch to look again.
    changed: Notify,
}

struct State {
    /// The whole budget.
    all: Bucket,
    /// The part of it that is not reserved for listed lookups.
    unlisted: Bucket,
    /// Their parts of that.
    networks: Networks,
    /// Listed lookups, which go first, and the others.
    waiting: [VecDeque<Ticket>; 2],
    next_number: u64,
}

const LISTED: usize = 0;
const OTHERS: usize = 1;

struct Ticket {
    number: u64,
    claim: Claim,
    lookups: u32,
    turn: oneshot::Sender<Turn>,
}

/// Tokens, or none where all are spent.
type Turn = Option<Arc<Reservation>>;

/// How many listed lookups may wait for a token, and how many others. One that waits takes about a
/// kilobyte.
const MAX_WAITING: usize = 10_000;

/// The answer of the budget to a lookup that would begin.
pub(super) enum Admission {
    Granted(Arc<Reservation>),
    /// There is no token yet. Yields a reservation in [turn](Budget::wait_for), or none when all
    /// tokens are spent.
    Queued(oneshot::Receiver<Turn>, u64),
    /// An earlier lookup of the same key waits for tokens, also for so many others of its own.
    Shared(Waiter<Weak<Reservation>>, u32, Claim),
    Refused,
}

impl State {
    /// The room in all buckets that a lookup takes from.
    fn room(&self, claim: Claim, lookups: u32, now: i64) -> Room {
        let all = self.all.room(lookups, now);
        if claim.rank == Rank::Unlisted { all.max(self.unlisted.room(lookups, now)) } else { all }
    }

    /// Whether a lookup takes nothing but what other networks leave.
    fn is_beyond_share(&self, claim: Claim, lookups: u32, now: i64) -> bool {
        claim.rank == Rank::Unlisted
            && claim.network.is_some_and(|network| !self.networks.have(network, lookups, now))
    }

    /// Counts a lookup for its network.
    fn charge(&mut self, claim: Claim, lookups: u32, now: i64) {
        if let (Rank::Unlisted, Some(network)) = (claim.rank, claim.network) {
            self.networks.charge(network, lookups, now);
        }
    }

    /// Gives back what was counted, but for what was spent.
    fn refund(&mut self, claim: Claim, lookups: u32, spent: u32) {
        if let (Rank::Unlisted, Some(network)) = (claim.rank, claim.network) {
            self.networks.refund(network, lookups, spent);
        }
    }

    fn reserve(&mut self, claim: Claim, lookups: u32) {
        self.all.reserve(lookups);
        if claim.rank == Rank::Unlisted {
            self.unlisted.reserve(lookups);
        }
    }

    fn release(&mut self, claim: Claim, lookups: u32, spent: u32, now: i64) {
        self.all.release(lookups, spent, now);
        if claim.rank == Rank::Unlisted {
            self.unlisted.release(lookups, spent, now);
        }
        self.refund(claim, lookups, spent);
    }

    /// How long it is until time brings the tokens that the next lookup waits for; none if only the
    /// end of a lookup can bring them.
    fn due(&self, now: i64) -> Option<i64> {
        let next = self.waiting.iter().find_map(VecDeque::front)?;
        let all = self.all.due(next.lookups, now)?;
        match next.claim.rank {
            Rank::Unlisted => Some(all.max(self.unlisted.due(next.lookups, now)?)),
            Rank::Unranked | Rank::Listed => Some(all),
        }
    }

    /// Whether a lookup would overtake others.
    fn is_awaited(&self, claim: Claim) -> bool {
        !self.waiting[LISTED].is_empty()
            || (claim.rank != Rank::Listed && !self.waiting[OTHERS].is_empty())
    }

    /// Forgets lookups that have ceased to wait.
    fn sweep(&mut self, lane: usize) {
        let tickets = std::mem::take(&mut self.waiting[lane]);
        for ticket in tickets {
            if ticket.turn.is_closed() {
                self.refund(ticket.claim, ticket.lookups, 0);
            } else {
                self.waiting[lane].push_back(ticket);
            }
        }
    }
}

const fn lane(rank: Rank) -> usize {
    match rank {
        Rank::Listed => LISTED,
        Rank::Unlisted | Rank::Unranked => OTHERS,
    }
}

impl Budget {
    /// So many lookups a second, so many hundredths of them reserved for listed ones.
    pub(super) fn new(per_second: NonZeroU32, reserved: u8, clock: Arc<dyn Clock>) -> Arc<Self> {
        let open = u64::from(per_second.get()) * u64::from(100 - reserved.min(100)) / 100;
        let open = u32::try_from(open).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let state = State {
            all: Bucket::new(Rate::new(per_second)),
            unlisted: Bucket::new(Rate::new(open)),
            networks: Networks::new(open),
            waiting: Default::default(),
            next_number: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            clock,
            watch: AsyncMutex::new(()),
            changed: Notify::new(),
        })
    }

    /// Reserves tokens for all the lookups that one key may need, or a place in the queue for
    /// them. A bucket that is smaller than that is reserved as a whole.
    pub(super) fn admit(self: &Arc<Self>, lookups: u32, claim: Claim) -> Admission {
        let now = self.now();
        let mut state = self.state.lock();
        let room = state.room(claim, lookups, now);
        let is_beyond_share = state.is_beyond_share(claim, lookups, now);
        let is_free = match room {
            Room::Free if is_beyond_share => state.unlisted.has_half(lookups, now),
            room => room == Room::Free,
        };
        if is_free && !state.is_awaited(claim) {
            // What a network gets beyond its share is no debt.
            let network = claim.network.filter(|_| !is_beyond_share);
            let claim = Claim { network, ..claim };
            state.charge(claim, lookups, now);
            return Admission::Granted(Reservation::new(self, &mut state, lookups, claim));
        }
        let waits = match claim.rank {
            Rank::Listed => true,
            Rank::Unranked => room != Room::Spent,
            // The key has other digests that may be listed: they must not wait for this one.
            Rank::Unlisted => room != Room::Spent && !is_beyond_share && lookups == 1,
        };
        let lane = lane(claim.rank);
        if waits && state.waiting[lane].len() >= MAX_WAITING {
            state.sweep(lane);
        }
        if !waits || state.waiting[lane].len() >= MAX_WAITING {
            return Admission::Refused;
        }
        state.charge(claim, lookups, now);
        let number = state.next_number;
        state.next_number += 1;
        let (turn, receiver) = oneshot::channel();
        state.waiting[lane].push_back(Ticket { number, claim, lookups, turn });
        let is_next = state.waiting[lane].len() == 1;
        drop(state);
        if is_next {
            self.changed.notify_one();
        }
        Admission::Queued(receiver, number)
    }

    /// A lookup that waits turns out to be listed.
    pub(super) fn promote(self: &Arc<Self>, number: u64) {
        let now = self.now();
        let mut state = self.state.lock();
        let place = state.waiting[OTHERS].iter().position(|ticket| ticket.number == number);
        let Some(mut ticket) = place.and_then(|place| state.waiting[OTHERS].remove(place)) else {
            return;
        };
        state.refund(ticket.claim, ticket.lookups, 0);
        ticket.claim.rank = Rank::Listed;
        state.waiting[LISTED].push_back(ticket);
        let turns = self.turns(&mut state, now);
        drop(state);
        send(turns);
        self.changed.notify_one();
    }

    /// Waits for tokens; none when all are spent.
    pub(super) async fn reserve(self: &Arc<Self>, admission: Admission) -> Turn {
        let mut admission = admission;
        loop {
            match admission {
                Admission::Granted(reservation) => return Some(reservation),
                Admission::Queued(turn, _) => return self.wait_for(turn).await,
                Admission::Shared(mut earlier, lookups, claim) => {
                    let reservation = earlier.answer().await.and_then(|earlier| earlier.upgrade());
                    let claimed = reservation.filter(|held| held.is_of(self) && held.claim());
                    admission =
                        claimed.map_or_else(|| self.admit(lookups, claim), Admission::Granted);
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
            let changed = self.changed.notified();
            match self.hand_out() {
                Some(due) => drop(timeout(due, changed).await),
                None => changed.await,
            }
        }
    }

    /// Gives tokens to the lookups whose turn it is. Returns how long it is until time brings those
    /// that the next one waits for; none if only the end of a lookup can bring them.
    fn hand_out(self: &Arc<Self>) -> Option<Duration> {
        let now = self.now();
        let mut state = self.state.lock();
        let turns = self.turns(&mut state, now);
        let due = state.due(now);
        drop(state);
        send(turns);
        due.map(|nanos| Duration::from_nanos(nanos.max(1).unsigned_abs()))
    }

    /// Ends a reservation, and tells the lookups whose turn it is.
    fn release(self: &Arc<Self>, claim: Claim, lookups: u32, spent: u32) {
        let now = self.now();
        let mut state = self.state.lock();
        state.release(claim, lookups, spent, now);
        let turns = self.turns(&mut state, now);
        let is_awaited = state.waiting.iter().any(|waiting| !waiting.is_empty());
        drop(state);
        send(turns);
        if is_awaited {
            self.changed.notify_one();
        }
    }

    /// Takes the lookups whose turn it is out of the queues.
    fn turns(self: &Arc<Self>, state: &mut State, now: i64) -> Vec<(Ticket, Turn)> {
        let mut turns = Vec::new();
        for lane in [LISTED, OTHERS] {
            while let Some(next) = state.waiting[lane].front() {
                let (claim, lookups, is_closed) = (next.claim, next.lookups, next.turn.is_closed());
                let room = state.room(claim, lookups, now);
                let is_granted = room == Room::Free
                    && (lane == LISTED || state.waiting[LISTED].is_empty())
                    && !is_closed;
                let is_refused = room == Room::Spent && lane == OTHERS;
                if !is_granted && !is_refused && !is_closed {
                    break;
                }
                let Some(ticket) = state.waiting[lane].pop_front() else { break };
                if is_granted {
                    turns.push((ticket, Some(Reservation::new(self, state, lookups, claim))));
                } else {
                    state.refund(claim, lookups, 0);
                    turns.push((ticket, None));
                }
            }
        }
        turns
    }

    fn now(&self) -> i64 {
        self.clock.now().as_unix_millis().saturating_mul(1_000_000)
    }
}

/// Not under the lock: a lookup that stopped waiting just now drops its reservation, and so
/// releases it.
fn send(turns: Vec<(Ticket, Turn)>) {
    for (ticket, turn) in turns {
        drop(ticket.turn.send(turn));
    }
}

/// Tokens that the lookups of one key hold. Dropped when the last of them has ended, however it
/// ends.
pub(super) struct Reservation {
    budget: Arc<Budget>,
    claim: Claim,
    lookups: u32,
    /// How many of the lookups are taken: those that were begun, and those that will be.
    claimed: AtomicU32,
    /// How often the store was asked.
    begun: AtomicU32,
    is_found: AtomicBool,
}

impl Reservation {
    fn new(budget: &Arc<Budget>, state: &mut State, lookups: u32, claim: Claim) -> Arc<Self> {
        state.reserve(claim, lookups);
        let (begun, is_found) = (AtomicU32::new(0), AtomicBool::new(false));
        let claimed = AtomicU32::new(1);
        Arc::new(Self { budget: budget.clone(), claim, lookups, claimed, begun, is_found })
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
        self.budget.release(self.claim, self.lookups, spent);
    }
}

#[cfg(test)]
mod tests;
