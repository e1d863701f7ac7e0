//! Clusters: several servers, each with a part of the keys.

use std::sync::Arc;

use tower_api_key::{
    KeyId,
    credits::Balance,
    key::KeyDigest,
    store::{
        ApplyOutcome, BalanceStore, BalanceUpdate, Changes, KeyQuery, KeyRepository, KeyStore,
        KeyUse, Plan, RedisStore, SelectedChanges, Selection, UsageLog,
    },
    usage::UsageQuery,
};

use super::{
    counted, indexed, request, run,
    server::{start_node, wait_for},
    texts,
};
use crate::conformance::{assert_duplicate, at, digest, record, stored};

/// Every script, on keys with all there is to them. A script that used keys on two nodes would be
/// an error (`CROSSSLOT`), even on a cluster of one.
async fn use_everything(store: &RedisStore) {
    store.migrate().await.unwrap();
    store.insert(&indexed(1)).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    assert_duplicate(store.insert(&indexed(1)).await);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&indexed(1)));
    assert!(store.find(&KeyDigest::from_bytes([9; 32])).await.unwrap().is_none());
    assert!(store.get(KeyId::from_bytes([9; 16])).await.unwrap().is_none());

    let mut changed = indexed(1);
    (changed.digest, changed.owner) = (digest(3), Some("bert".into()));
    changed.revision += 1;
    assert_eq!(store.update(&indexed(1), &changed).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.update(&indexed(1), &changed).await.unwrap(), ApplyOutcome::Stale);
    assert_eq!(store.find(&digest(3)).await.unwrap().as_deref(), Some(&changed));
    let (mut by_request, mut legacy) = (KeyQuery::new(1), KeyQuery::new(1));
    (by_request.request, legacy.legacy) = (Some(request(1)), true);
    for query in [KeyQuery::new(1), KeyQuery::new(1).with_owner("bert"), by_request, legacy] {
        assert_eq!(store.list(&query).await.unwrap().items.len(), 1);
    }
    let unplanned: Plan = Arc::new(|records| (records.len() != 1).then(Changes::default));
    let all = Selection::Issued { owner: Some("bert".into()), before: None };
    for selection in [Selection::Ids(vec![record(2).id]), all] {
        assert_eq!(store.apply_to(&selection, &unplanned).await.unwrap(), ApplyOutcome::Done);
    }
    let known = store.known_digests().unwrap();
    assert_eq!(known.page(None, 10).await.unwrap().0.len(), 2);
    assert_eq!(known.added(KeyId::from_bytes([0; 16]), 10).await.unwrap().len(), 2);
    let uses = [1, 2].map(|number| KeyUse::new(record(number).id, 1, at(9)));
    store.record_uses(&uses).await.unwrap();
    assert_eq!(stored(store, record(2).id).await.use_count, 1);

    let balance = Balance::new(5, None, at(0));
    let new = BalanceUpdate {
        lineage: record(2).id,
        balance: balance.clone(),
        expected: None,
        due: None,
    };
    let credit = Changes::default().with_balances(vec![new]);
    assert_eq!(store.apply(&credit).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.apply(&credit).await.unwrap(), ApplyOutcome::Stale);
    assert_eq!(store.balances(&[record(2).id]).await.unwrap().items, [(record(2).id, balance)]);
    store.record_usage(&[counted(2, 0, 3)]).await.unwrap();
    let all = UsageQuery::new(at(0), at(1));
    assert_eq!(store.usage(&all).await.unwrap()[0].count, 3);
    assert_eq!(store.busiest(&all, 1).await.unwrap()[0].lineage, record(2).id);
    assert_eq!(store.forget_usage(at(1)).await.unwrap(), 1);
    assert_eq!(store.purge(at(i64::MAX), Some(&"anna".into())).await.unwrap(), 0);
    assert_eq!(store.purge(at(i64::MAX), None).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cluster_of_one_node_takes_every_script() {
    let Some(node) = start_node(&["0", "16383"]) else { return };
    wait_for(&[&node], "1");
    use_everything(&RedisStore::new(&node.url()).unwrap()).await;
    #[cfg(feature = "redis-cluster")]
    {
        let store = RedisStore::new_cluster([&*node.url()]).unwrap();
        use_everything(&store.with_prefix("by_cluster").unwrap()).await;
    }
}

/// Two nodes, and a prefix on each of them.
#[cfg(feature = "redis-cluster")]
#[tokio::test]
async fn the_node_with_the_keys_is_found() {
    let Some(one) = start_node(&["0", "8191"]) else { return };
    let mut two = start_node(&["8192", "16383"]).unwrap();
    let nodes: String = run(&mut two.connect(), &["CLUSTER", "NODES"]);
    let bus = nodes.split([' ', ',']).nth(1).unwrap().split_once('@').unwrap().1.to_owned();
    let port = two.port().to_string();
    let _: () = run(&mut one.connect(), &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    wait_for(&[&one, &two], "2");

    let names = ["a", "b", "c", "d", "e", "f"];
    let is_on_one = |name: &str| {
        let slot: u16 = run(&mut one.connect(), &["CLUSTER", "KEYSLOT", name]);
        slot < 8192
    };
    let on_one = names.into_iter().find(|name| is_on_one(name)).unwrap();
    let on_two = names.into_iter().find(|name| !is_on_one(name)).unwrap();
    let urls = [one.url(), two.url()];
    for name in [on_one, on_two] {
        let store = RedisStore::new_cluster(urls.iter().map(|url| &**url)).unwrap();
        use_everything(&store.with_prefix(name).unwrap()).await;
    }

    // By one URL, under the usual prefix, wherever that is. The first node need not be there.
    let nodes = format!("127.0.0.1:{}", one.port());
    for url in [
        format!("redis+cluster://{nodes}"),
        format!("valkey+cluster://127.0.0.1:{},{nodes}", super::server::free_port()),
    ] {
        let store = tower_api_key::store::connect(&url).await.unwrap();
        assert!(store.get(record(1).id).await.unwrap().is_none(), "{url}");
        crate::connect::are_one_bus(&url, &two.url()).await;
    }

    // One node leads to the other. A store that knows of no cluster says what is wrong.
    let store = RedisStore::new_cluster([&*one.url()]).unwrap().with_prefix(on_two).unwrap();
    assert_eq!(stored(&store, record(2).id).await.use_count, 1);
    let plain = RedisStore::new(&one.url()).unwrap().with_prefix(on_two).unwrap();
    let error = plain.find(&digest(2)).await.unwrap_err();
    assert_eq!(error.kind(), tower_api_key::store::StoreErrorKind::Unavailable);
    assert!(texts(&error).contains("connect_cluster"), "{error:?}");

    // Keys move, and the store does not know yet.
    let store_of_moved = |name| store.clone().with_prefix(name).unwrap();
    let moved = names.into_iter().filter(|name| is_on_one(name)).find(|name| *name != on_one);
    let slot: u16 = run(&mut one.connect(), &["CLUSTER", "KEYSLOT", moved.unwrap()]);
    let new_home: String = run(&mut two.connect(), &["CLUSTER", "MYID"]);
    for node in [&two, &one] {
        let command = ["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &new_home];
        let _: () = run(&mut node.connect(), &command);
    }
    use_everything(&store_of_moved(moved.unwrap())).await;

    // A node ends and comes back.
    two.kill();
    let error = store.find(&digest(2)).await.unwrap_err();
    assert!(super::is_outage(&error), "{error:?}");
    two.start_again();
    wait_for(&[&one, &two], "2");
    assert_eq!(stored(&store, record(2).id).await.use_count, 1);
}
