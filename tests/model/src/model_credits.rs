//! Tasks spend credits of one lineage on one node, while the node takes some, gives some back, and
//! sweeps.
//!
//! Nothing is spent that the store has not granted, and nothing is lost but what a failing store loses.
//! What is neither spent nor lost is in the store again when the node has closed.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use shuttle::rand::{Rng, thread_rng};
use tokio::task::{JoinHandle, spawn, yield_now};

use crate::{
    clock::{SettableClock, Timestamp},
    credits::{Balance, Credits, SpendOutcome},
    error::{StoreError, StoreErrorKind},
    key::{KeyDigest, KeyId, KeyRecord, OwnerId},
    store::{
        ApplyOutcome, BalanceStore, Balances, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore,
        KeyUse,
    },
};

/// All that is wanted is there, so that no caller is denied.
pub(crate) fn are_enough() {
    run(200, |node| {
        let mut tasks: Vec<_> = (1..=3).map(|cost| node.spend(0, cost, Expect::Done)).collect();
        tasks.extend([node.recall(), node.recall()]);
        tasks
    });
}

/// Some callers are denied.
pub(crate) fn run_out() {
    run(9, |node| {
        let mut tasks: Vec<_> = (1..=3).map(|cost| node.spend(0, cost, Expect::Answer)).collect();
        tasks.extend([node.recall(), node.pass_time()]);
        tasks
    });
}

/// Reads and writes fail, with and without effect.
pub(crate) fn store_fails() {
    run(200, |node| {
        node.store.0.lock().unwrap().fails = true;
        let mut tasks: Vec<_> = (1..=3).map(|cost| node.spend(0, cost, Expect::Any)).collect();
        tasks.extend([node.recall(), node.pass_time()]);
        tasks
    });
}

/// The balance is set to nothing, so that no caller with the new record spends what was held before.
pub(crate) fn are_set_anew() {
    set_anew(0);
}

/// The balance is set to little: of that, callers with the new record spend no more.
pub(crate) fn are_set_to_little() {
    set_anew(4);
}

/// There is so much that threads hold parts of what the node holds.
pub(crate) fn are_parted() {
    run_with(PARTED, 100_000, |node| {
        let mut tasks: Vec<_> = (1..=3).map(|cost| node.spend(0, cost, Expect::Done)).collect();
        tasks.extend([node.spend_and_put_back(0, 2), node.recall(), node.pass_time()]);
        tasks
    });
}

/// The balance is set to little while threads hold parts of what it was.
pub(crate) fn are_parted_and_set_anew() {
    set_anew_with(PARTED, 20);
}

fn set_anew(remaining: u64) {
    set_anew_with(FEW, remaining);
}

fn set_anew_with(lease: Lease, remaining: u64) {
    let granted = if lease == PARTED { 100_000 } else { 200 };
    run_with(lease, granted, move |node| {
        let this = node.clone();
        let new = spawn(async move {
            // Some have been taken.
            while this.store.0.lock().unwrap().balance.revision == 0 {
                yield_now().await;
            }
            this.store.set_anew(remaining);
            // Only now a record tells of it.
            for task in [1, 2].map(|cost| this.spend(1, cost, Expect::Answer)) {
                task.await.unwrap();
            }
            let spent = this.spent[1].load(SeqCst);
            assert!(spent <= remaining, "{spent} of {remaining} new credits");
        });
        vec![node.spend_and_put_back(0, 2), node.spend(0, 1, Expect::Answer), new, node.recall()]
    });
}

fn run(granted: u64, begin: impl Fn(&Node) -> Vec<JoinHandle<()>> + 'static) {
    run_with(FEW, granted, begin);
}

fn run_with(lease: Lease, granted: u64, begin: impl Fn(&Node) -> Vec<JoinHandle<()>> + 'static) {
    shuttle::future::block_on(async move {
        let node = Node::new(lease, granted);
        for task in begin(&node) {
            task.await.unwrap();
        }
        node.store.0.lock().unwrap().fails = false;
        node.credits.close().await.unwrap();
        assert_eq!(node.credits.held(node.lineage), 0, "the node has closed");
        let spent: u64 = node.spent.iter().map(|spent| spent.load(SeqCst)).sum();
        let store = node.store.0.clone();
        drop(node);
        crate::no_other_holds(&store).await;
        let store = store.lock().unwrap();
        let known = store.balance.remaining + spent + store.lost;
        if store.balance.epoch == 0 {
            assert_eq!(known, granted, "{spent} spent, {store:?}");
        } else {
            assert!(spent + store.balance.remaining <= store.granted, "{spent} spent, {store:?}");
        }
    });
}

/// How many credits a node takes at a time, and how often a task spends some.
#[derive(Clone, Copy, PartialEq)]
struct Lease {
    most: u64,
    times: u32,
}

const FEW: Lease = Lease { most: 4, times: 3 };

/// A part of this has some 15 credits, so that tasks use up some.
const PARTED: Lease = Lease { most: 600, times: 12 };

#[derive(Clone)]
struct Node {
    lease: Lease,
    store: Store,
    clock: SettableClock,
    credits: Credits,
    lineage: KeyId,
    /// By callers with a record of this epoch.
    spent: Arc<[AtomicU64; 2]>,
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Done,
    /// Done, or denied.
    Answer,
    /// Or an error.
    Any,
}

impl Node {
    fn new(lease: Lease, granted: u64) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let clock = SettableClock::new(now);
        let store = Store::new(Balance::new(granted, None, now));
        let credits = Credits::builder(store.clone()).with_clock(clock.clone());
        let credits = credits.with_lease(NonZeroU64::new(lease.most).unwrap()).build().unwrap();
        let lineage = KeyId::from_bytes([7; 16]);
        Self { lease, store, clock, credits, lineage, spent: Arc::default() }
    }

    fn record(&self, epoch: u64) -> KeyRecord {
        let now = Timestamp::UNIX_EPOCH;
        let mut record = KeyRecord::new(self.lineage, KeyDigest::from_bytes([1; 32]), "", now);
        record.details.credits = Some(epoch);
        record.revision = epoch;
        record
    }

    fn spend(&self, epoch: u64, cost: u64, expect: Expect) -> JoinHandle<()> {
        let (node, record) = (self.clone(), self.record(epoch));
        spawn(async move {
            for _ in 0..node.lease.times {
                match node.credits.spend(&record, cost).await {
                    Ok(SpendOutcome::Done { .. }) => {
                        node.spent[usize::try_from(epoch).unwrap()].fetch_add(cost, SeqCst);
                        node.check();
                    }
                    Ok(SpendOutcome::Short { .. }) => assert!(expect != Expect::Done),
                    Err(error) => assert!(expect == Expect::Any, "{error}"),
                }
            }
        })
    }

    /// By requests that are then denied for another reason.
    fn spend_and_put_back(&self, epoch: u64, cost: u64) -> JoinHandle<()> {
        let (node, record) = (self.clone(), self.record(epoch));
        spawn(async move {
            for _ in 0..node.lease.times {
                if let Ok(SpendOutcome::Done { .. }) = node.credits.spend(&record, cost).await {
                    node.credits.give_back(&record, cost);
                }
            }
        })
    }

    /// Gives back all that is held.
    fn recall(&self) -> JoinHandle<()> {
        let node = self.clone();
        spawn(async move {
            // The store may fail.
            let _ = node.credits.recall(node.lineage).await;
        })
    }

    fn pass_time(&self) -> JoinHandle<()> {
        let clock = self.clock.clone();
        spawn(async move {
            for _ in 0..3 {
                clock.advance(Duration::from_secs(1));
                yield_now().await;
            }
        })
    }

    /// Not more than was granted, at any moment.
    fn check(&self) {
        let spent: u64 = self.spent.iter().map(|spent| spent.load(SeqCst)).sum();
        let granted = self.store.0.lock().unwrap().granted;
        assert!(spent <= granted, "{spent} of {granted} credits");
    }
}

/// A store with one balance.
#[derive(Clone)]
struct Store(Arc<Mutex<Stored>>);

#[derive(Debug)]
struct Stored {
    balance: Balance,
    /// By all epochs.
    granted: u64,
    /// By errors: the node does not hold them, and the store has not got them.
    lost: u64,
    fails: bool,
    /// A call is under way.
    is_busy: bool,
    set_anew: u64,
    stale: u64,
}

impl Store {
    fn new(balance: Balance) -> Self {
        let granted = balance.remaining;
        Self(Arc::new(Mutex::new(Stored {
            balance,
            granted,
            lost: 0,
            fails: false,
            is_busy: false,
            set_anew: 0,
            stale: 0,
        })))
    }

    /// As the manager does, on another node.
    fn set_anew(&self, remaining: u64) {
        let mut store = self.0.lock().unwrap();
        store.balance.remaining = remaining;
        store.balance.epoch += 1;
        store.balance.revision += 1;
        store.granted += remaining;
        store.set_anew += 1;
    }

    /// Other tasks run before and after the store has done it. False if it is to fail.
    async fn call<T>(&self, act: impl FnOnce(&mut Stored, bool) -> T) -> T {
        assert!(!self.0.lock().unwrap().is_busy, "two calls at a time");
        self.0.lock().unwrap().is_busy = true;
        yield_now().await;
        let fails = thread_rng().gen_ratio(1, 4);
        let result = {
            let mut store = self.0.lock().unwrap();
            let fails = store.fails && fails;
            act(&mut store, fails)
        };
        yield_now().await;
        self.0.lock().unwrap().is_busy = false;
        result
    }
}

#[async_trait]
impl BalanceStore for Store {
    async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        let lineage = lineages[0];
        self.call(move |store, fails| {
            if fails {
                return Err(StoreError::unavailable("it is down"));
            }
            let balance = (lineage, store.balance.clone());
            Ok(Balances::new(Timestamp::UNIX_EPOCH, vec![balance]))
        })
        .await
    }
}

#[async_trait]
impl KeyRepository for Store {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let update = changes.balances[0].clone();
        self.call(move |store, fails| {
            if update.expected != Some(store.balance.revision) {
                store.stale += 1;
                // One call at a time: only the other node can have been faster.
                assert!(store.stale <= store.set_anew, "this node writes against itself");
                return Ok(ApplyOutcome::Stale);
            }
            let (old, new) = (store.balance.remaining, update.balance.remaining);
            let has_effect = !fails || thread_rng().r#gen();
            if has_effect {
                store.balance = update.balance;
            }
            if !fails {
                return Ok(ApplyOutcome::Done);
            }
            store.lost += match has_effect {
                true => old.saturating_sub(new),
                false => new.saturating_sub(old),
            };
            Err(StoreError::new(StoreErrorKind::Timeout))
        })
        .await
    }

    async fn get(&self, _: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Err(StoreError::unsupported())
    }

    async fn list(&self, _: &KeyQuery) -> Result<KeyPage, StoreError> {
        Err(StoreError::unsupported())
    }

    async fn record_uses(&self, _: &[KeyUse]) -> Result<(), StoreError> {
        Err(StoreError::unsupported())
    }

    async fn purge(&self, _: Timestamp, _: Option<&OwnerId>) -> Result<u64, StoreError> {
        Err(StoreError::unsupported())
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        Some(self)
    }
}

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Err(StoreError::unsupported())
    }
}
