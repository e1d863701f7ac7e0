//! Many nodes that spend one balance together.

use std::{num::NonZeroU64, sync::Arc};

use proptest::prelude::*;
use tower_api_key::{
    Credits,
    credits::SpendOutcome,
    key::KeyRecord,
    store::{KeyRepository, MemoryStore},
};

use super::support::{Place, is_done, spend_all};

/// How often requests of this cost were let in by all nodes together, each serving many at a time,
/// until each has found that there is nothing left for it.
async fn spend_everywhere(nodes: &[Credits], tasks: usize, key: &Arc<KeyRecord>, cost: u64) -> u64 {
    let task = |node: &Credits| {
        let (node, key) = (node.clone(), key.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while is_done(node.spend(&key, cost).await.unwrap()) {
                count += 1;
                if count % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            count
        })
    };
    let spending: Vec<_> =
        (0..tasks).flat_map(|_| nodes.iter().map(task).collect::<Vec<_>>()).collect();
    let mut count = 0;
    for task in spending {
        count += task.await.unwrap();
    }
    count
}

#[derive(Debug)]
struct Case {
    remaining: u64,
    nodes: usize,
    tasks: usize,
    lease: u64,
    cost: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    (0_u64..20_000, 1_usize..=8, 1_usize..=16, 1_u64..2_000, 1_u64..40).prop_map(
        |(remaining, nodes, tasks, lease, cost)| Case { remaining, nodes, tasks, lease, cost },
    )
}

async fn nothing_is_lost_and_nothing_spent_twice(case: &Case) {
    let place = Place::new();
    let key = place.key(case.remaining).await;
    let lease = NonZeroU64::new(case.lease).unwrap();
    let node = |_| place.builder().with_lease(lease).build().unwrap();
    let nodes: Vec<_> = (0..case.nodes).map(node).collect();
    let count = spend_everywhere(&nodes, case.tasks, &key, case.cost).await;
    let held: u64 = nodes.iter().map(|node| node.held(key.lineage())).sum();
    assert_eq!(count * case.cost + held + place.stored(&key).await, case.remaining);
    for node in &nodes {
        node.close().await.unwrap();
        assert_eq!(node.held(key.lineage()), 0);
    }
    assert_eq!(count * case.cost + place.stored(&key).await, case.remaining);
    // What one node had for requests that came to another.
    assert_eq!(count * case.cost + spend_all(&place.node(), &key).await, case.remaining);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_number_of_nodes_spend_exactly_what_there_is(case in cases()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(nothing_is_lost_and_nothing_spent_twice(&case));
    }
}

const MILLION: u64 = 1_000_000;

/// A service that spends so many takes more at a time: every take is a commit on a disk.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
const BUSY: u64 = 4_096;

/// Eight nodes, each on a store of its own, with 64 requests at a time that cost one each.
async fn a_million<S: KeyRepository + Clone>(stores: Vec<S>, lease: u64) {
    let lease = NonZeroU64::new(lease).unwrap();
    let place = Place::on(stores[0].clone());
    let key = place.key(MILLION).await;
    let clock = || place.clock.clone();
    let node = |store: &S| {
        Credits::builder(store.clone()).with_clock(clock()).with_lease(lease).build().unwrap()
    };
    let nodes: Vec<_> = stores.iter().map(node).collect();
    let mut count = spend_everywhere(&nodes, 64, &key, 1).await;
    // A node that finds nothing does not know what others hold. They close one after the other, as
    // servers do that are replaced, and whoever is left gets it.
    for (index, node) in nodes.iter().enumerate() {
        node.close().await.unwrap();
        place.clock.advance(std::time::Duration::from_secs(1));
        if let Some(next) = nodes.get(index + 1) {
            count += spend_all(next, &key).await;
        }
    }
    let left = place.stored(&key).await;
    assert_eq!(count + left, MILLION);
    assert_eq!(left, 0);
    assert_eq!(count, MILLION);
}

/// The same, and one of the nodes is gone in the middle of it without giving anything back.
async fn a_million_and_a_crash<S: KeyRepository + Clone>(stores: Vec<S>, lease: u64) {
    let most = NonZeroU64::new(lease).unwrap();
    let place = Place::on(stores[0].clone());
    let key = place.key(MILLION).await;
    let node = |store: &S| {
        Credits::builder(store.clone())
            .with_clock(place.clock.clone())
            .with_lease(most)
            .build()
            .unwrap()
    };
    let (crashing, nodes) = (node(&stores[0]), stores[1..].iter().map(node).collect::<Vec<_>>());
    let (spending, before) = (spend_everywhere(&nodes, 64, &key, 1), async {
        let mut count = 0;
        for _ in 0..30_000 {
            count += u64::from(is_done(crashing.spend(&key, 1).await.unwrap()));
        }
        let held = crashing.held(key.lineage());
        drop(crashing);
        (count, held)
    });
    let (count, (before, held)) = tokio::join!(spending, before);
    let mut count = count + before;
    for node in &nodes {
        node.close().await.unwrap();
    }
    place.clock.advance(std::time::Duration::from_secs(1));
    count += spend_all(&nodes[0], &key).await;
    // It may have been about to take more in advance.
    assert!((held..=lease).contains(&(MILLION - count)), "{count} {held}");
    assert!(matches!(nodes[0].spend(&key, 1).await, Ok(SpendOutcome::Short { remaining: 0, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_credits_in_memory() {
    let store = MemoryStore::new();
    a_million(vec![store.clone(); 8], 512).await;
    a_million_and_a_crash(vec![store; 8], 512).await;
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::time::Duration;

    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
    use tower_api_key::store::SqliteStore;

    /// Longer than any of them waits for the others, however busy the machine: a write that is
    /// given up loses credits.
    const LONG: Duration = Duration::from_mins(10);

    /// As many programs have the same file open.
    async fn stores(folder: &tempfile::TempDir) -> Vec<SqliteStore> {
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("keys.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(LONG);
        let mut stores = Vec::new();
        for _ in 0..8 {
            let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(LONG);
            let pool = pool.connect_with(options.clone()).await.unwrap();
            stores.push(SqliteStore::from_pool(pool));
            stores[0].migrate().await.unwrap();
        }
        stores
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_million_credits() {
        let folder = tempfile::tempdir().unwrap();
        super::a_million(stores(&folder).await, super::BUSY).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_million_credits_and_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        super::a_million_and_a_crash(stores(&folder).await, super::BUSY).await;
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use tower_api_key::store::PostgresStore;

    use crate::servers::{Database, Server};

    async fn stores(database: &Database) -> Vec<PostgresStore> {
        let mut stores = Vec::new();
        for _ in 0..8 {
            stores.push(PostgresStore::connect(database.url()).await.unwrap());
        }
        stores
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_million_credits() {
        let Some(database) = Database::new(Server::Postgres).await else { return };
        super::a_million(stores(&database).await, super::BUSY).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_million_credits_and_a_crash() {
        let Some(database) = Database::new(Server::Postgres).await else { return };
        super::a_million_and_a_crash(stores(&database).await, super::BUSY).await;
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use tower_api_key::store::MySqlStore;

    use crate::servers::{Database, Server};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_million_credits() {
        let Some(database) = Database::new(Server::MySql).await else { return };
        let mut stores = Vec::new();
        for _ in 0..8 {
            stores.push(MySqlStore::connect(database.url()).await.unwrap());
        }
        super::a_million(stores, super::BUSY).await;
    }
}
