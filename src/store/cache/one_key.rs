//! The lookups of one key by its several digests, during a change of peppers: they cost nothing if
//! one of them finds it.
//!
//! They share a reservation, also one that an earlier lookup still waits for. A request must not keep
//! one while it waits for a call that waits for tokens: the tokens may be these. So it then lets go of
//! its own, and what they were used for is spent.

use std::{
    cell::RefCell,
    future::Future,
    sync::{Arc, Weak},
};

use super::{
    Answer,
    budget::{Admission, Budget, Claim, Rank, Reservation},
};
use crate::runtime::Waiter;

/// The lookups of a request, by the digests of its one key.
struct OneKey {
    /// How many lookups are still to begin, at most.
    left: u32,
    /// The reservations of lookups that have begun or ended without finding the key: spent with the
    /// end of the request, if no other finds it.
    held: Vec<Arc<Reservation>>,
    /// How many calls it waits for that may be waiting for tokens.
    in_line: u32,
    /// The reservation of the latest of these calls.
    awaited: Option<Waiter<Weak<Reservation>>>,
}

tokio::task_local! {
    static ONE_KEY: RefCell<OneKey>;
}

/// Makes `lookups`, for no more than so many digests of one key.
pub(crate) async fn of_one_key<A, V, E>(
    digests: usize,
    lookups: impl Future<Output = (A, Answer<V, E>)>,
) -> (A, Answer<V, E>) {
    let left = u32::try_from(digests).unwrap_or(u32::MAX);
    let lookups = async {
        let answer = lookups.await;
        if matches!(answer, (_, Ok(Some(_)))) {
            with(|one| one.held.iter().for_each(|held| held.found()));
        }
        answer
    };
    let one = OneKey { left, held: Vec::new(), in_line: 0, awaited: None };
    ONE_KEY.scope(RefCell::new(one), lookups).await
}

/// Begins a call, which is no part of the request that it is begun by: others wait for it, and its
/// source may be another cache, with a budget of its own.
pub(super) fn apart<T>(begin: impl FnOnce() -> T) -> T {
    if with(|_| ()).is_none() {
        return begin();
    }
    let one = OneKey { left: 1, held: Vec::new(), in_line: 0, awaited: None };
    ONE_KEY.sync_scope(RefCell::new(one), begin)
}

fn with<T>(change: impl FnOnce(&mut OneKey) -> T) -> Option<T> {
    ONE_KEY.try_with(|one| change(&mut one.borrow_mut())).ok()
}

/// How many lookups the one that begins now may need tokens for, itself included.
pub(super) fn next_lookups() -> u32 {
    let next = |one: &mut OneKey| {
        let left = one.left;
        one.left = left.saturating_sub(1);
        left.max(1)
    };
    with(next).unwrap_or(1)
}

/// Reserves tokens, unless the request holds some that no lookup has taken, or waits for some. A
/// listed digest does not wait for those of another, which may not be listed.
pub(super) fn admit(budget: &Arc<Budget>, lookups: u32, claim: Claim) -> Admission {
    let admission = with(|one| {
        let held = one.held.iter().find(|held| held.is_of(budget) && held.claim()).cloned();
        let awaited = || {
            let earlier = one.awaited.clone().filter(|_| claim.rank != Rank::Listed)?;
            Some(Admission::Shared(earlier, lookups, claim))
        };
        held.map(Admission::Granted).or_else(awaited)
    });
    admission.flatten().unwrap_or_else(|| budget.admit(lookups, claim))
}

/// Keeps the reservation of a lookup for the next ones, unless the request waits in line.
pub(super) fn hold(reservation: &Arc<Reservation>) {
    if !reservation.is_for_several() {
        return;
    }
    with(|one| {
        let is_held = one.held.iter().any(|held| Arc::ptr_eq(held, reservation));
        if !is_held && one.in_line == 0 {
            one.held.push(reservation.clone());
        }
    });
}

/// As long as a request waits for a call that may be waiting for tokens, it holds none.
pub(super) struct InLine(());

impl InLine {
    pub(super) fn new(reservation: Waiter<Weak<Reservation>>) -> Self {
        let held = with(|one| {
            one.in_line += 1;
            one.awaited = Some(reservation);
            std::mem::take(&mut one.held)
        });
        // Not under the borrow: it hands tokens to other lookups.
        drop(held);
        Self(())
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        with(|one| one.in_line = one.in_line.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{SettableClock, Timestamp},
        nonzero,
        runtime::SharedCall,
    };

    #[tokio::test]
    async fn a_request_in_line_holds_no_tokens() {
        let clock = Arc::new(SettableClock::new(Timestamp::UNIX_EPOCH));
        let budget = Budget::new(nonzero!(10), 50, clock);
        let Admission::Granted(reservation) = budget.admit(2, Claim::default()) else {
            panic!("there are tokens");
        };
        let held = || with(|one| one.held.len());
        let lookups = async {
            let (_call, awaited) = SharedCall::new();
            let in_line = InLine::new(awaited);
            hold(&reservation);
            assert_eq!(held(), Some(0));
            drop(in_line);
            hold(&reservation);
            hold(&reservation);
            assert_eq!(held(), Some(1), "once");
            ((), Answer::<(), ()>::Ok(None))
        };
        assert_eq!(of_one_key(2, lookups).await.1, Ok(None));
    }
}
