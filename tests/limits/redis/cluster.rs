//! Clusters: every bucket is on some node.

use tower_api_key::{
    OwnerId,
    limit::{LimitCheck, LimitSubject, RateLimiter, RedisLimiter},
};

use super::{
    allowed, ask, denied, hourly, limits, lineage, run,
    server::{start_node, wait_for},
};

/// A script that used keys on two nodes would be an error, even on a cluster of one.
async fn use_everything(limiter: &RedisLimiter) {
    let both = limits([("narrow", hourly(1)), ("wide", hourly(9))]);
    let (lineage, owner) = (lineage(), OwnerId::from("anna"));
    for bucket in [LimitSubject::Lineage(lineage), LimitSubject::Owner(&owner)] {
        let check = LimitCheck::new(bucket, &both);
        allowed(ask(limiter, &check).await);
        denied(ask(limiter, &check).await);
        limiter.give_back(&check, std::time::Duration::ZERO);
        let again = async {
            while !matches!(
                ask(limiter, &check).await,
                tower_api_key::limit::LimitDecision::Allow(_)
            ) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), again).await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_of_one_node_takes_every_script() {
    let Some(node) = start_node(&["0", "16383"]) else { return };
    wait_for(&[&node], "1");
    use_everything(&RedisLimiter::connect(&node.url()).await.unwrap()).await;
    #[cfg(feature = "redis-cluster")]
    {
        let limiter = RedisLimiter::builder_cluster([&*node.url()]).with_prefix("by_cluster");
        use_everything(&limiter.connect().await.unwrap()).await;
    }
}

/// Of two nodes, each has some of the buckets.
#[cfg(feature = "redis-cluster")]
#[tokio::test]
async fn buckets_are_spread_over_the_nodes() {
    let Some(one) = start_node(&["0", "8191"]) else { return };
    let two = start_node(&["8192", "16383"]).unwrap();
    let nodes: String = run(&mut two.connect(), &["CLUSTER", "NODES"]);
    let bus = nodes.split([' ', ',']).nth(1).unwrap().split_once('@').unwrap().1.to_owned();
    let port = two.port().to_string();
    let _: () = run(&mut one.connect(), &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    wait_for(&[&one, &two], "2");

    let limiter = RedisLimiter::connect_cluster([&*one.url()]).await.unwrap();
    let limits = limits([("hour", hourly(1))]);
    let sizes = || [&one, &two].map(|node| run::<u32>(&mut node.connect(), &["DBSIZE"]));
    // One after the other, until each node has some: half of all are on either.
    let mut count = 0;
    while sizes().contains(&0) {
        let (lineage, other) = (lineage(), self::lineage());
        for lineage in [lineage, other] {
            let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
            allowed(ask(&limiter, &check).await);
            denied(ask(&limiter, &check).await);
            count += 1;
        }
        assert!(count < 1_000, "all on one node");
    }
    assert_eq!(sizes().iter().sum::<u32>(), count);

    // Who knows of no cluster says what is wrong.
    let plain = RedisLimiter::new(&one.url()).unwrap();
    let mut errors = Vec::new();
    while errors.is_empty() {
        let check = LimitCheck::new(LimitSubject::Lineage(self::lineage()), &limits);
        errors.extend(plain.check(&check).await.err());
    }
    let why = std::error::Error::source(&errors[0]).unwrap().to_string();
    assert!(why.contains("new_cluster"), "{why}");
}
