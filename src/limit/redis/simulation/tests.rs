//! Faults that the simulation found, each alone.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    run::limiter,
    scripts::{Kind, numbers},
    server::Server,
};
use crate::{
    key::{KeyId, Limit, Limits, Quota},
    limit::limiter::{LimitCheck, LimitDecision, LimitSubject, RateLimiter},
};

/// A bucket was forgotten after ten seconds, and one with a long lease with all that it held.
#[tokio::test(start_paused = true)]
async fn a_long_lease_is_given_back_before_it_is_forgotten() {
    let server = Server::new(0);
    let limiter = limiter(&server, 1, Some(Duration::from_mins(1)));
    let quota = Quota::per_day(crate::nonzero!(1_000));
    let limits = Limits::new([Limit::new("day", quota).unwrap()]).unwrap();
    let check = LimitCheck::new(LimitSubject::Lineage(KeyId::from_bytes([1; 16])), &limits);
    for _ in 0..3 {
        let decision = limiter.check(&check).await.unwrap();
        assert!(matches!(decision, LimitDecision::Allow(_)));
        // Half of a lease later, no caller has come for a quarter of one.
        sleep(Duration::from_secs(7)).await;
    }
    sleep(Duration::from_mins(1)).await;
    let given_back = server.with_executed(|executed| {
        let leases = executed.iter().filter(|executed| executed.kind == Kind::Lease);
        leases.map(|executed| numbers(&executed.args[..7], 1, 4)[0]).sum::<i64>()
    });
    // One and eight were lent.
    assert_eq!(given_back, 9 - 3);
}
