//! The lookup budget: how many lookups that find nothing the store is asked for in a second.
//!
//! A lookup that finds its key costs nothing, and until the store has answered, the cache cannot
//! tell which kind a lookup is. So a lookup reserves a token when it begins. When it ends, the
//! token is spent unless the key was found. A reservation needs a token that no other lookup holds,
//! hence even if all lookups under way find nothing, the store was not asked for more than the
//! budget. When all tokens are held, further lookups wait for one to end; when all are spent, they
//! are refused.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};

/// A token bucket that holds a second's worth, and the lookups that wait for a token.
pub(super) struct Budget {
    state: Mutex<State>,
    nanos_per_lookup: i64,
    /// How far ahead `full_at` is when the bucket is empty.
    nanos_when_empty: i64,
    clock: Arc<dyn Clock>,
}

struct State {
    /// The moment at which the bucket will be full again if nothing is spent (the "theoretical
    /// arrival time" of the generic cell rate algorithm), in nanoseconds since the Unix epoch.
    full_at: i64,
    /// Tokens that are held by lookups under way.
    reserved: i64,
    waiting: VecDeque<Ticket>,
}

type Ticket = oneshot::Sender<Option<Reservation>>;

/// How many lookups may wait for a token. One that waits takes about a kilobyte.
const MAX_WAITING: usize = 10_000;

const SECOND: i64 = 1_000_000_000;

/// What the budget says to a lookup that would begin.
pub(super) enum Admission {
    Granted(Reservation),
    /// All tokens are held. Yields a reservation in turn, or none when all tokens are spent.
    Queued(oneshot::Receiver<Option<Reservation>>),
    Refused,
}

/// What is left in the bucket.
#[derive(PartialEq, Eq)]
enum Room {
    Free,
    /// Every token is held, and may come back.
    Held,
    /// There is less than one token.
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
        })
    }

    /// Reserves a token, or a place in the queue for one.
    pub(super) fn admit(self: &Arc<Self>) -> Admission {
        let now = self.now();
        let mut state = self.lock();
        match self.room(&state, now) {
            // Those who wait come first.
            Room::Free if state.waiting.is_empty() => {
                state.reserved += 1;
                Admission::Granted(Reservation::new(self.clone()))
            }
            Room::Free | Room::Held => {
                if state.waiting.len() >= MAX_WAITING {
                    state.waiting.retain(|ticket| !ticket.is_closed());
                }
                if state.waiting.len() >= MAX_WAITING {
                    return Admission::Refused;
                }
                let (ticket, turn) = oneshot::channel();
                state.waiting.push_back(ticket);
                Admission::Queued(turn)
            }
            Room::Spent => Admission::Refused,
        }
    }

    fn room(&self, state: &State, now: i64) -> Room {
        let spent = (self.full_at(state, now) - now).max(0);
        let tokens = (self.nanos_when_empty - spent) / self.nanos_per_lookup;
        if tokens > state.reserved {
            Room::Free
        } else if tokens > 0 {
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

    /// Ends a reservation, and tells those whose turn it is.
    fn release(self: &Arc<Self>, is_spent: bool) {
        let now = self.now();
        let mut turns = Vec::new();
        let mut state = self.lock();
        state.reserved -= 1;
        if is_spent {
            state.full_at = self.full_at(&state, now).max(now) + self.nanos_per_lookup;
        }
        loop {
            let room = self.room(&state, now);
            if room == Room::Held {
                break;
            }
            let Some(ticket) = state.waiting.pop_front() else { break };
            if ticket.is_closed() {
                continue;
            }
            let reservation = (room == Room::Free).then(|| {
                state.reserved += 1;
                Reservation::new(self.clone())
            });
            turns.push((ticket, reservation));
        }
        drop(state);
        for (ticket, reservation) in turns {
            // A lookup that stopped waiting just now drops its reservation, and so releases it:
            // not under the lock.
            drop(ticket.send(reservation));
        }
    }

    fn now(&self) -> i64 {
        nanos(self.clock.now())
    }

    // No code that can panic runs under the lock, so a poisoned one still guards sound data.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Timestamp) -> i64 {
    time.as_unix_millis().saturating_mul(1_000_000)
}

/// A token that a lookup holds. Dropped when the lookup has ended, however it ends.
pub(super) struct Reservation {
    budget: Arc<Budget>,
    is_spent: bool,
}

impl Reservation {
    fn new(budget: Arc<Budget>) -> Self {
        Self { budget, is_spent: false }
    }

    /// The store is asked now. From here on the token is spent unless the key is
    /// [found](Self::found): an error does not say that there is such a key.
    pub(super) fn begin(&mut self) {
        self.is_spent = true;
    }

    pub(super) fn found(&mut self) {
        self.is_spent = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.is_spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SettableClock;

    const START: i64 = 1_000_000;

    struct Fixture {
        budget: Arc<Budget>,
        clock: SettableClock,
    }

    impl Fixture {
        fn new(per_second: u32) -> Self {
            let clock = SettableClock::new(Timestamp::from_unix_millis(START));
            let per_second = NonZeroU32::new(per_second).unwrap();
            Self { budget: Budget::new(per_second, Arc::new(clock.clone())), clock }
        }

        fn at(&self, millis: i64) {
            self.clock.set(Timestamp::from_unix_millis(START + millis));
        }

        /// Lookups, one after the other, that find nothing until one is refused.
        fn spend(&self) -> usize {
            let spend = |_: &usize| match self.budget.admit() {
                Admission::Granted(mut reservation) => {
                    reservation.begin();
                    true
                }
                Admission::Queued(_) => panic!("nothing is under way"),
                Admission::Refused => false,
            };
            (0..2_000_000).take_while(spend).count()
        }

        fn granted(&self) -> Reservation {
            match self.budget.admit() {
                Admission::Granted(mut reservation) => {
                    reservation.begin();
                    reservation
                }
                _ => panic!("there is a token"),
            }
        }

        fn queued(&self) -> oneshot::Receiver<Option<Reservation>> {
            match self.budget.admit() {
                Admission::Queued(turn) => turn,
                _ => panic!("every token is held"),
            }
        }
    }

    #[test]
    fn a_seconds_worth_at_once_and_then_at_the_rate() {
        let fixture = Fixture::new(100);
        for (millis, allowed) in [(0, 100), (9, 0), (10, 1), (510, 50), (60_000, 100)] {
            fixture.at(millis);
            assert_eq!(fixture.spend(), allowed, "after {millis} ms");
        }
    }

    #[test]
    fn exact_for_rates_that_do_not_divide_a_second() {
        for per_second in [1, 3, 7, 999, 999_999] {
            let fixture = Fixture::new(per_second);
            assert_eq!(fixture.spend(), per_second as usize, "{per_second} at once");
            let later: usize = (1..=10_000)
                .map(|millis| {
                    fixture.at(millis);
                    fixture.spend()
                })
                .sum();
            // Ten seconds' worth, less what rounding takes away.
            let allowed = 10 * per_second as usize;
            let missing = allowed - later;
            assert!(missing <= 1 + allowed / 1_000, "{later} of {allowed}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_close_it() {
        let fixture = Fixture::new(100);
        for (millis, allowed) in [
            (3_600_000, 100),
            (0, 100),
            // By less than a second, it is closed for as long.
            (-500, 0),
            (10, 1),
        ] {
            fixture.at(millis);
            assert_eq!(fixture.spend(), allowed, "at {millis} ms");
        }
    }

    #[test]
    fn what_is_found_costs_nothing() {
        let fixture = Fixture::new(3);
        for _ in 0..1_000 {
            fixture.granted().found();
        }
        assert_eq!(fixture.spend(), 3);
    }

    /// Tokens that come back after the bucket has filled up again must not make it overflow: the
    /// store is asked for no more than a second's worth at once in any second.
    #[test]
    fn a_token_that_comes_back_late_is_no_second_one() {
        let fixture = Fixture::new(10);
        let mut held: Vec<_> = (0..10).map(|_| fixture.granted()).collect();
        fixture.at(60_000);
        assert!(matches!(fixture.budget.admit(), Admission::Queued(_)), "they are still held");
        held.iter_mut().for_each(Reservation::found);
        drop(held);
        assert_eq!(fixture.spend(), 10);
    }

    #[test]
    fn when_all_are_held_the_next_waits_for_one_to_come_back() {
        let fixture = Fixture::new(1);
        let mut first = fixture.granted();
        let (mut second, mut third) = (fixture.queued(), fixture.queued());
        assert!(second.try_recv().is_err());
        first.found();
        drop(first);
        let mut second = second.try_recv().unwrap().expect("a token");
        assert!(third.try_recv().is_err(), "one at a time");
        second.begin();
        drop(second);
        assert!(third.try_recv().unwrap().is_none(), "the only token is spent");
        assert!(matches!(fixture.budget.admit(), Admission::Refused));
    }

    #[test]
    fn a_lookup_that_stopped_waiting_keeps_no_token() {
        let fixture = Fixture::new(1);
        let mut first = fixture.granted();
        drop(fixture.queued());
        let mut left_too_late = fixture.queued();
        let mut last = fixture.queued();
        first.found();
        drop(first);
        left_too_late.close();
        drop(left_too_late);
        assert!(last.try_recv().unwrap().is_some());
    }

    #[test]
    fn places_to_wait_are_bounded() {
        let fixture = Fixture::new(1);
        let _held = fixture.granted();
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| fixture.queued()).collect();
        assert!(matches!(fixture.budget.admit(), Admission::Refused));
        drop(waiting);
        fixture.queued();
    }
}
