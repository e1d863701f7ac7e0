//! Replicas that end, fall silent or stop applying changes.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tower_api_key::store::{KeyRepository, KeyStore};

use super::{
    LAG_BOUND, asks_replica, find_many, next_number,
    pair::{Pair, Replicated},
    until,
};
use crate::{
    conformance::{digest, record},
    pairs,
    proxy::Proxy,
    remote::Session,
};

/// Longer than a replica is waited for, as often as it is asked meanwhile, and far shorter than so many
/// lookups would wait.
const A_FEW: Duration = Duration::from_secs(40);
const LOOKUPS: usize = 300;

pub(super) async fn a_replica_that_fails_costs_no_lookup<R: Replicated>() {
    let Some(mut pair) = Pair::<R>::start().await else { return };
    until(async || asks_replica(&pair.store).await).await;
    let known = pair.known().await;

    // It ends: whoever waits for it is answered by the primary.
    pair.replica.kill();
    for _ in 0..LOOKUPS {
        assert!(find_many(&pair.store, known).await);
    }
    assert!(!asks_replica(&pair.store).await);
    pair.replica.start_again();
    until(async || asks_replica(&pair.store).await).await;

    // It says nothing any more, behind a network that has forgotten it.
    let mut proxy = Proxy::before(&pair.replica.url());
    let store = R::build(&pair.primary.url(), &[proxy.url()]).await.unwrap();
    until(async || asks_replica(&store).await).await;
    proxy.freeze();
    let all = async {
        for _ in 0..LOOKUPS {
            assert!(find_many(&store, known).await);
        }
    };
    timeout(A_FEW, all).await.unwrap();
    proxy.pass();
    until(async || asks_replica(&store).await).await;

    // One that is there beside one that is not.
    let nowhere = pair.replica.url().replace(&pair.replica.port().to_string(), "1");
    let store = R::build(&pair.primary.url(), &[&nowhere, &pair.replica.url()]).await.unwrap();
    until(async || asks_replica(&store).await).await;
    for _ in 0..LOOKUPS {
        assert!(find_many(&store, known).await);
    }
}

pub(super) async fn a_replica_that_stops_is_not_asked<R: Replicated>() {
    let Some(pair) = Pair::<R>::start().await else { return };
    for _ in 0..2 {
        is_asked_no_longer_after(R::STOP, &pair).await;
        pair.tell_replica(R::GO_ON).await;
    }
    until(async || asks_replica(&pair.store).await).await;
}

/// While nodes still write to the server that it has copied. It may have a life of its own.
pub(super) async fn a_promoted_replica_is_not_asked<R: Replicated>() {
    let Some(pair) = Pair::<R>::start().await else { return };
    is_asked_no_longer_after(R::PROMOTE, &pair).await;
    // With nodes of its own, and their beats.
    let of_replica = R::build(&pair.replica.url(), &[&pair.replica.url()]).await.unwrap();
    let number = next_number();
    of_replica.insert(&record(number)).await.unwrap();
    for _ in 0..30 {
        assert!(find_many(&of_replica, number).await);
        assert!(!find_many(&pair.store, number).await && !asks_replica(&pair.store).await);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Does this on the replica, and waits until only the primary is asked.
async fn is_asked_no_longer_after<R: Replicated>(sql: &str, pair: &Pair<R>) {
    until(async || asks_replica(&pair.store).await).await;
    pair.tell_replica(sql).await;
    let number = next_number();
    pair.store.insert(&record(number)).await.unwrap();
    let inserted = Instant::now();
    // As long as it is asked, it is not further behind than the bound.
    until(async || {
        let asked = Instant::now();
        let is_found = find_many(&pair.store, number).await;
        assert!(is_found || asked - inserted <= LAG_BOUND, "a replica far behind was asked");
        is_found
    })
    .await;
    for _ in 0..20 {
        assert!(!asks_replica(&pair.store).await);
    }
}

pub(super) async fn a_replica_answers_without_its_primary<R: Replicated>() {
    let Some(mut pair) = Pair::<R>::start().await else { return };
    let known = pair.known().await;
    until(async || asks_replica(&pair.store).await).await;
    pair.primary.kill();
    let finds = async || pair.store.find_many(&[digest(known)]).await.remove(0);
    // Unless it was slow a moment ago.
    until(async || finds().await.is_ok_and(|found| found.is_some())).await;
    // The primary alone is asked for what must be fresh.
    pair.store.find(&digest(known)).await.unwrap_err();
    pair.store.find_fresh(&digest(known)).await.unwrap_err();
    // Without a heartbeat, nothing tells how far behind it is.
    until(async || finds().await.is_err()).await;
    pair.primary.start_again();
    until(async || pair.store.find(&digest(known)).await.is_ok()).await;
    until(async || asks_replica(&pair.store).await).await;
}

/// One name for two servers, as with a balancer: that one of them is fresh says nothing of the other.
pub(super) async fn behind_a_balancer_each_answer_proves_itself<R: Replicated>() {
    let Some(pair) = Pair::<R>::start().await else { return };
    let other = pairs::replica(&pair.primary).await;
    let name = Proxy::before(&pair.replica.url());
    let store = R::build(&pair.primary.url(), &[name.url()]).await.unwrap();
    until(async || asks_replica(&store).await).await;
    pair.known().await;
    R::session(&other.url()).await.run(R::STOP).await.unwrap();

    // Far behind, one of them does not have the key.
    let number = next_number();
    pair.store.insert(&record(number)).await.unwrap();
    sleep(LAG_BOUND + Duration::from_secs(1)).await;
    let mut asked = 0;
    for round in 0..200 {
        // Connections that are there stay where they are.
        name.lead_to(&[&other, &pair.replica][round % 2].url());
        let lookups = (0..8).map(|_| find_many(&store, number));
        let found = futures_util::future::join_all(lookups).await;
        assert!(found.into_iter().all(|is_found| is_found), "a replica far behind was believed");
        asked += usize::from(asks_replica(&store).await);
    }
    assert!(asked > 0, "no replica was asked");
}
