//! Requests that go back into a lease, at moments that the test says.

use std::time::Duration;

use super::{
    buckets::Lent,
    lease::{Asked, Lease, Moment},
};
use crate::{
    key::{Limit, Limits, Quota},
    limit::limiter::LimitDecision,
};

const TIME: Duration = Duration::from_millis(500);
const MILLI: Moment = 1_000_000;

/// A lease that has its first batch since 1 ms, until 500 ms.
fn lease(requests: u32) -> Lease {
    lease_of(Quota::per_second(crate::nonzero!(1_000)), requests)
}

fn lease_of(quota: Quota, requests: u32) -> Lease {
    let mut lease = Lease::new(Limits::new([Limit::new("second", quota).unwrap()]).unwrap());
    let ask = lease.ask(1, 0, TIME);
    let lent = Lent { requests, since: 0, owed: vec![0] };
    lease.ended(&lent, &ask, Asked { at: 0, left: 0 }, MILLI);
    lease
}

/// Adds a batch that is asked for at this moment, and comes a millisecond later.
fn lend_ahead(lease: &mut Lease, requests: u32, at: Moment) {
    let ask = lease.ask_ahead(at, TIME);
    let asked = Asked { at, left: lease.left() };
    let lent = Lent { requests, since: 0, owed: vec![0] };
    lease.ended(&lent, &ask, asked, at + MILLI);
}

/// How many more requests it lets in at this moment.
fn rest(lease: &mut Lease, now: Moment) -> u32 {
    let allow = |lease: &mut Lease| matches!(lease.decide(1, now), Some(LimitDecision::Allow(_)));
    std::iter::from_fn(|| allow(lease).then_some(())).map(|()| 1).sum()
}

#[test]
fn a_request_goes_back_into_the_batch_that_counted_it() {
    let mut lease = lease(10);
    assert!(matches!(lease.decide(3, 2 * MILLI), Some(LimitDecision::Allow(_))));
    assert!(lease.give_back(3, 2 * MILLI, 9 * MILLI));
    assert!(!lease.give_back(1, 2 * MILLI, 9 * MILLI), "it has counted no other");
    assert_eq!(rest(&mut lease, 10 * MILLI), 10);
    assert!(!lease.give_back(1, 10 * MILLI, 500 * MILLI), "it has ended");
}

/// A batch that was taken ahead is asked for long before it is used: what the one before lets in
/// meanwhile is not the later one's.
#[test]
fn a_request_does_not_go_back_into_the_next_batch() {
    let mut lease = lease(10);
    assert!(matches!(lease.decide(8, 2 * MILLI), Some(LimitDecision::Allow(_))));
    lend_ahead(&mut lease, 20, 100 * MILLI);
    assert!(matches!(lease.decide(1, 200 * MILLI), Some(LimitDecision::Allow(_))));
    assert!(lease.give_back(1, 200 * MILLI, 201 * MILLI), "the next one is not in use yet");
    assert!(matches!(lease.decide(2, 202 * MILLI), Some(LimitDecision::Allow(_))));

    // The second batch begins, and lets in five.
    assert!(matches!(lease.decide(5, 300 * MILLI), Some(LimitDecision::Allow(_))));
    for let_in in [2, 99, 200, 299] {
        assert!(!lease.give_back(1, let_in * MILLI, 301 * MILLI), "let in at {let_in} ms");
    }
    assert!(lease.give_back(2, 300 * MILLI, 301 * MILLI));
    assert_eq!(rest(&mut lease, 302 * MILLI), 20 - 5 + 2);
}

/// One was lost where the next began before more was asked for.
#[test]
fn what_is_left_of_two_batches_is_given_back() {
    // Hardly any comes back meanwhile.
    let mut lease = lease_of(Quota::per_hour(crate::nonzero!(3_600)), 10);
    assert!(matches!(lease.decide(8, 2 * MILLI), Some(LimitDecision::Allow(_))));
    lend_ahead(&mut lease, 20, 100 * MILLI);
    assert!(matches!(lease.decide(5, 300 * MILLI), Some(LimitDecision::Allow(_))));
    assert!(lease.decide(16, 301 * MILLI).is_none());
    // Of ten, two are left, and of twenty 15.
    let mut unused = vec![lease.ask(16, 301 * MILLI, TIME).unused];
    unused.extend(lease.take_unused(302 * MILLI, TIME).iter().map(|ask| ask.unused));
    unused.sort_unstable();
    assert_eq!(unused, [2, 15]);
}
