//! The lookups of one key by its several digests, during a change of peppers: they cost nothing if
//! one of them finds it.

use std::{cell::RefCell, future::Future, sync::Arc};

use super::{
    Answer,
    budget::{Admission, Budget, Reservation},
};

/// What a request has looked up so far, by the digests of its one key.
struct OneKey {
    /// How many lookups are still to begin, at most.
    left: u32,
    /// What lookups that did not find the key have reserved: spent with the end of the request, if
    /// no other finds it.
    held: Vec<Arc<Reservation>>,
}

tokio::task_local! {
    static ONE_KEY: RefCell<OneKey>;
}

/// Does `lookups`, which asks for no more than so many digests of one key.
pub(crate) async fn of_one_key<A, V, E>(
    digests: usize,
    lookups: impl Future<Output = (A, Answer<V, E>)>,
) -> (A, Answer<V, E>) {
    let left = u32::try_from(digests).unwrap_or(u32::MAX);
    let lookups = async {
        let answer = lookups.await;
        if matches!(answer, (_, Ok(Some(_)))) {
            ONE_KEY.with(|one| one.borrow().held.iter().for_each(|held| held.found()));
        }
        answer
    };
    ONE_KEY.scope(RefCell::new(OneKey { left, held: Vec::new() }), lookups).await
}

/// How many lookups the one that begins now may need tokens for, itself included.
pub(super) fn next_lookups() -> u32 {
    let next = |one: &RefCell<OneKey>| {
        let left = &mut one.borrow_mut().left;
        std::mem::replace(left, left.saturating_sub(1)).max(1)
    };
    ONE_KEY.try_with(next).unwrap_or(1)
}

/// Reserves tokens, unless the request holds some that no lookup has taken.
pub(super) fn admit(budget: &Arc<Budget>, lookups: u32) -> Admission {
    let held = ONE_KEY.try_with(|one| {
        one.borrow().held.iter().find(|held| held.is_of(budget) && held.claim()).cloned()
    });
    held.ok().flatten().map_or_else(|| budget.admit(lookups), Admission::Granted)
}

/// Keeps what a lookup has reserved that did not find the key, for the next ones.
pub(super) fn hold(reservation: Arc<Reservation>) {
    let hold = |one: &RefCell<OneKey>| one.borrow_mut().held.push(reservation);
    ONE_KEY.try_with(hold).unwrap_or_default();
}
