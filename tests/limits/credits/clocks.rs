//! Nodes whose clocks are wrong: the store's clock alone decides when credits come back.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
    time::Duration,
};

use tower_api_key::{
    Credits, KeyManager, NewKey, Timestamp,
    clock::{Clock, SettableClock},
    credits::{Balance, NewCredits, Refill, RefillInterval},
    key::KeyRecord,
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyRepository, MemoryStore},
};

use super::support::is_done;

const YEAR: Duration = Duration::from_hours(365 * 24);
const HOUR: Duration = Duration::from_hours(1);

fn hourly() -> Refill {
    let interval = RefillInterval::Seconds(NonZeroU32::new(3_600).unwrap());
    Refill::new(NonZeroU64::new(10).unwrap(), interval)
}

fn before(time: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap();
    Timestamp::from_unix_millis(time.as_unix_millis() - millis)
}

async fn now_of(store: &impl KeyRepository) -> Timestamp {
    store.balance_store().unwrap().balances(&[]).await.unwrap().now
}

async fn stored(store: &impl KeyRepository, key: &KeyRecord) -> Balance {
    store
        .balance_store()
        .unwrap()
        .balances(&[key.lineage()])
        .await
        .unwrap()
        .of(key.lineage())
        .unwrap()
        .clone()
}

/// A key with a balance that `change` has made something else of.
async fn key<S: KeyRepository + Clone>(
    store: &S,
    change: impl FnOnce(&mut Balance, Timestamp),
) -> Arc<KeyRecord> {
    let credits = Some(NewCredits { remaining: 5, refill: Some(hourly()) });
    let new = NewKey { credits, ..NewKey::named("spends") };
    let key = KeyManager::new(store.clone()).create(new).await.unwrap().record;
    let mut balance = stored(store, &key).await;
    change(&mut balance, now_of(store).await);
    let expected = Some(balance.revision);
    balance.revision += 1;
    let update = BalanceUpdate { lineage: key.lineage(), balance, expected, due: None };
    let changes = Changes::default().with_balances(vec![update]);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    key
}

/// A node with a clock of its own, which takes one credit at a time and so asks the store each time.
struct Node(Credits, SettableClock);

impl Node {
    fn new(store: &(impl KeyRepository + Clone), now: Timestamp) -> Self {
        let clock = SettableClock::new(now);
        let credits = Credits::builder(store.clone()).with_clock(clock.clone());
        Self(credits.with_lease(NonZeroU64::MIN).build().unwrap(), clock)
    }

    async fn spend(&self, key: &KeyRecord) -> bool {
        // What it knows of the store it forgets by its own clock.
        self.1.advance(Duration::from_secs(2));
        is_done(self.0.spend(key, 1).await.unwrap())
    }
}

/// Pairs of clocks around the true one.
fn pairs(now: Timestamp) -> [[Timestamp; 2]; 3] {
    let (behind, ahead) = (before(now, YEAR), now.saturating_add(YEAR));
    [[now, ahead], [now, behind], [behind, ahead]]
}

/// A thousand alternations of two nodes grant one refill, the one that is due.
async fn one_refill_a_period<S: KeyRepository + Clone>(store: S) {
    let now = now_of(&store).await;
    for pair in pairs(now) {
        // A period and a half ago.
        let key = key(&store, |balance, now| {
            balance.since = before(now, HOUR * 3 / 2);
            balance.next_refill_at = Some(balance.since.saturating_add(HOUR));
        })
        .await;
        let since = stored(&store, &key).await.since;
        let nodes = pair.map(|time| Node::new(&store, time));
        let mut spent = 0;
        for turn in 0..1_000 {
            spent += u64::from(nodes[turn % 2].spend(&key).await);
        }
        assert_eq!(spent, 10, "{pair:?}");
        let left = stored(&store, &key).await;
        assert_eq!((left.remaining, left.granted), (0, 1));
        assert_eq!(left.next_refill_at, Some(since.saturating_add(HOUR * 2)));
        for node in &nodes {
            node.0.close().await.unwrap();
        }
    }
}

/// As a node of an older version has left it, whose clock was a year ahead.
async fn a_time_too_far_ahead_is_repaired<S: KeyRepository + Clone>(store: S) {
    let key = key(&store, |balance, now| {
        balance.remaining = 0;
        balance.since = before(now, HOUR / 2);
        balance.next_refill_at = Some(now.saturating_add(YEAR));
    })
    .await;
    let node = Node::new(&store, now_of(&store).await);
    assert!(!node.spend(&key).await);
    let left = stored(&store, &key).await;
    assert_eq!(left.next_refill_at, Some(left.since.saturating_add(HOUR)));
    assert_eq!((left.remaining, left.granted), (0, 0));
}

/// Creating, setting and adding: what a manager writes is by the store's clock as well.
async fn a_managers_clock_moves_no_refill<S: KeyRepository + Clone>(store: S) {
    let now = now_of(&store).await;
    for time in [before(now, YEAR), now.saturating_add(YEAR)] {
        let manager = KeyManager::new(store.clone()).with_clock(SettableClock::new(time));
        let credits = NewCredits { remaining: 5, refill: Some(hourly()) };
        let new = NewKey { credits: Some(credits), ..NewKey::named("spends") };
        let issued = manager.create(new).await.unwrap();
        let key = issued.record;
        let soon = now.saturating_add(HOUR).saturating_add(HOUR / 2);
        let is_right = |balance: &Balance| balance.next_refill_at.is_some_and(|at| at <= soon);
        assert!(is_right(&issued.balance.unwrap()) && is_right(&stored(&store, &key).await));

        let patch = tower_api_key::KeyPatch {
            credits: Some(Some(credits.into())),
            ..tower_api_key::KeyPatch::default()
        };
        manager.update(key.id, patch).await.unwrap();
        assert!(is_right(&stored(&store, &key).await));
        let added = manager.top_up(key.id, 1).await.unwrap();
        assert_eq!(added.remaining, 6, "no refill came with it");
        assert!(is_right(&added));
        assert_eq!(manager.balance(key.id).await.unwrap(), Some(added));
    }
}

/// The three of them on a store, made by `$open`.
macro_rules! clocks {
    ($name:ident, $open:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what `open` needs differs from store to store")]
            use super::*;

            #[tokio::test]
            async fn one_refill_a_period() {
                let opened: Option<_> = $open.await.into();
                let Some((store, _guard)) = opened else { return };
                super::one_refill_a_period(store).await;
            }

            #[tokio::test]
            async fn a_time_too_far_ahead_is_repaired() {
                let opened: Option<_> = $open.await.into();
                let Some((store, _guard)) = opened else { return };
                super::a_time_too_far_ahead_is_repaired(store).await;
            }

            #[tokio::test]
            async fn a_managers_clock_moves_no_refill() {
                let opened: Option<_> = $open.await.into();
                let Some((store, _guard)) = opened else { return };
                super::a_managers_clock_moves_no_refill(store).await;
            }
        }
    };
}

clocks!(memory, async { (MemoryStore::new(), ()) });

#[cfg(feature = "sqlite")]
clocks!(sqlite, async { (tower_api_key::store::SqliteStore::in_memory().await.unwrap(), ()) });

#[cfg(feature = "postgres")]
clocks!(postgres, async {
    use crate::servers::{Database, Server};
    let database = Database::new(Server::Postgres).await?;
    let store = tower_api_key::store::PostgresStore::connect(database.url()).await.unwrap();
    Some((store, database))
});

#[cfg(feature = "mysql")]
clocks!(mysql, async {
    use crate::servers::{Database, Server};
    let database = Database::new(Server::MySql).await?;
    let store = tower_api_key::store::MySqlStore::connect(database.url()).await.unwrap();
    Some((store, database))
});

#[cfg(feature = "redis")]
clocks!(redis, crate::redis::store());

/// Each true period grants one refill, whichever node asks for it and however often.
#[tokio::test]
async fn every_true_period_grants_one_refill() {
    let clock = SettableClock::new(super::support::NOW);
    for pair in pairs(clock.now()) {
        let store = MemoryStore::new().with_clock(clock.clone());
        let key = key(&store, |_, _| {}).await;
        let nodes = pair.map(|time| Node::new(&store, time));
        for first in [5, 10, 10, 10] {
            let mut spent = 0;
            for turn in 0..250 {
                spent += u64::from(nodes[turn % 2].spend(&key).await);
            }
            assert_eq!(spent, first);
            clock.advance(HOUR);
        }
    }
}

/// A credit that a node holds ends with the refill by the store's clock, and not a year early.
#[tokio::test(start_paused = true)]
async fn what_a_node_holds_does_not_end_by_its_own_clock() {
    let clock = SettableClock::new(super::support::NOW);
    let store = MemoryStore::new().with_clock(clock.clone());
    let credits = Some(NewCredits { remaining: 1_000, refill: Some(hourly()) });
    let rich = Refill::new(NonZeroU64::new(2_000).unwrap(), hourly().interval);
    let credits = credits.map(|credits| NewCredits { refill: Some(rich), ..credits });
    let new = NewKey { credits, ..NewKey::named("spends") };
    let key = KeyManager::new(store.clone()).create(new).await.unwrap().record;
    let ahead = SettableClock::new(clock.now().saturating_add(YEAR));
    let node = Credits::builder(store.clone()).with_clock(ahead).build().unwrap();
    assert!(is_done(node.spend(&key, 1).await.unwrap()));
    let held = node.held(key.lineage());
    assert!(held > 0);
    // Long enough for the sweep to have looked, and not for it to give back.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(node.held(key.lineage()), held);
    node.close().await.unwrap();
    assert_eq!(stored(&store, &key).await.remaining, 999);
}
