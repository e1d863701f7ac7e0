//! [`Replicas`]: servers that copy the primary, and are asked as long as they prove that they are not far
//! behind.

mod beats;
mod task;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::Pool;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, timeout},
};

use self::beats::Beats;
use super::{
    call::Call,
    dialect::Dialect,
    find_many::asked,
    kept::KeptConnection,
    pooled_connection::within,
    remote::TIMEOUT,
    statements::{HeartbeatStatements, Statements},
    store::SqlStore,
};
use crate::{
    error::StoreError,
    key::KeyDigest,
    observe,
    runtime::{Mutex, OwnedTask},
    store::batches::{Answer, FOUND_AT_ONCE},
};

/// How long a lookup waits for a replica, before the primary is asked in its place. The replica is not asked
/// any more, until it answers in as short a time again. Well below the time after which a cache takes a
/// lookup for failed.
const ANSWER: Duration = Duration::from_millis(200);

/// The replicas of a store, and the task that lets them prove how far behind they are.
pub(in crate::store) struct Replicas<DB: Dialect> {
    shared: Arc<Shared<DB>>,
    task: OwnedTask,
}

struct Shared<DB: Dialect> {
    primary: Pool<DB>,
    statements: Arc<Statements>,
    replicas: Vec<Arc<Replica<DB>>>,
    lag_bound: Duration,
    beats: Beats,
    /// The replica whose turn it is.
    turn: AtomicUsize,
    /// Since the task last looked.
    is_used: AtomicBool,
    is_closed: AtomicBool,
}

/// A server that copies the primary.
struct Replica<DB: Dialect> {
    /// From 1 on, in the order in which they were given: an address may be secret.
    number: usize,
    pool: Pool<DB>,
    kept: KeptConnection<DB>,
    /// It has all changes that were made before. `None`: it is not asked.
    fresh_as_of: Mutex<Option<Instant>>,
    /// Whether it is, as far as the operator was told.
    told: Mutex<Option<bool>>,
    start: Instant,
}

/// The rows of keys, and the moment before which all changes are in them.
struct Proven<R> {
    rows: Vec<R>,
    fresh_as_of: Instant,
}

impl<DB: Dialect> Replicas<DB> {
    pub(super) fn new(
        primary: Pool<DB>,
        statements: Arc<Statements>,
        replicas: Vec<Pool<DB>>,
        lag_bound: Duration,
    ) -> Self {
        let replicas =
            (1..).zip(replicas).map(|(number, pool)| Arc::new(Replica::new(number, pool)));
        let shared = Shared {
            primary,
            statements,
            replicas: replicas.collect(),
            lag_bound,
            beats: Beats::new(lag_bound),
            turn: AtomicUsize::new(0),
            is_used: AtomicBool::new(true),
            is_closed: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), task: OwnedTask::default() }
    }

    /// The same servers, for another table.
    pub(super) fn of_table(&self, statements: &Arc<Statements>) -> Self {
        let Shared { primary, replicas, lag_bound, .. } = &*self.shared;
        let pools = replicas.iter().map(|replica| replica.pool.clone()).collect();
        Self::new(primary.clone(), statements.clone(), pools, *lag_bound)
    }

    /// Has them prove how far behind they are, from now on and as long as they are in use.
    pub(super) fn start(&self) {
        if self.task.is_running() || self.shared.is_closed.load(Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        self.task.start(&runtime, || Some(self.shared.clone().run()));
    }

    /// One answer for each digest, in the same order, of a replica that is fresh. `None`: the primary is to
    /// be asked. "Not found" says nothing, since a replica may not have the key yet.
    pub(super) async fn find_many(&self, digests: &[KeyDigest]) -> Option<Vec<Answer>> {
        self.shared.is_used.store(true, Relaxed);
        self.start();
        if digests.is_empty() || digests.len() > FOUND_AT_ONCE {
            return None;
        }
        let replica = self.shared.next_fresh()?;
        let proven = replica.find(&self.shared, digests).await?;
        // The state that was read was as late as that, and this answer is used from now on.
        if proven.fresh_as_of.elapsed() > self.shared.lag_bound {
            return None;
        }
        let answers = SqlStore::<DB>::answers(&proven.rows, digests).ok()?;
        // The primary says whether the fault is in its row as well.
        answers.iter().all(Result::is_ok).then_some(answers)
    }

    /// Ends the task, and closes the connections to replicas.
    pub(super) async fn close(&self) {
        self.shared.is_closed.store(true, Relaxed);
        self.task.stop();
        let mut closing = JoinSet::new();
        for replica in &self.shared.replicas {
            let replica = replica.clone();
            closing.spawn(async move { timeout(TIMEOUT, replica.kept.close(&replica.pool)).await });
        }
        while closing.join_next().await.is_some() {}
    }
}

impl<DB: Dialect> Shared<DB> {
    /// The next of the replicas that are fresh.
    fn next_fresh(&self) -> Option<&Replica<DB>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let (before, from) = self.replicas.split_at(turn % self.replicas.len().max(1));
        let mut all = from.iter().chain(before);
        all.find(|replica| replica.is_fresh(self.lag_bound)).map(|replica| &**replica)
    }

    fn heartbeat(&self) -> Option<&HeartbeatStatements> {
        self.statements.heartbeat.as_ref()
    }

    /// A statement that finds keys and shows the beat of the replica.
    fn lookup(&self, digests: &[KeyDigest]) -> Option<Call<'static>> {
        Some(Call::new(&self.heartbeat()?.find_many).with_all([asked(digests)]))
    }
}

impl<DB: Dialect> Replica<DB> {
    fn new(number: usize, pool: Pool<DB>) -> Self {
        let (kept, start) = (KeptConnection::new(), Instant::now());
        Self { number, pool, kept, fresh_as_of: Mutex::default(), told: Mutex::default(), start }
    }

    fn is_fresh(&self, lag_bound: Duration) -> bool {
        self.fresh_as_of.lock().is_some_and(|moment| moment.elapsed() <= lag_bound)
    }

    /// Keys, if it tells in time of which state they are.
    async fn find(&self, shared: &Shared<DB>, digests: &[KeyDigest]) -> Option<Proven<DB::Row>> {
        let call = shared.lookup(digests)?;
        let rows = within(ANSWER, self.kept.rows(&self.pool, call, digests.len())).await;
        match rows.and_then(|rows| self.prove(shared, rows)) {
            Ok(proven) => proven,
            Err(error) => {
                self.fails(&DB::store_error(error));
                None
            }
        }
    }

    /// Takes the beat that is in all rows for proof of the state from which they are. `None`: this node has
    /// not heard of it, as of one that a replica has sooner.
    fn prove(
        &self,
        shared: &Shared<DB>,
        mut rows: Vec<DB::Row>,
    ) -> sqlx::Result<Option<Proven<DB::Row>>> {
        let pulse = DB::pulse(rows.first().ok_or(sqlx::Error::RowNotFound)?)?;
        let Some(fresh_as_of) = shared.beats.moment_of(pulse) else { return Ok(None) };
        *self.fresh_as_of.lock() = Some(fresh_as_of);
        // There is one without a key if none was found.
        let mut has_keys = true;
        for row in &rows {
            has_keys &= DB::has_key(row)?;
        }
        if !has_keys {
            rows.clear();
        }
        Ok(Some(Proven { rows, fresh_as_of }))
    }

    /// It is not asked until it has proven itself again.
    fn fails(&self, error: &StoreError) {
        *self.fresh_as_of.lock() = None;
        self.tell(false, Some(error));
    }

    /// Tells the operator of a change.
    fn tell(&self, is_fresh: bool, error: Option<&StoreError>) {
        let before = self.told.lock().replace(is_fresh);
        if before == Some(is_fresh) {
            return;
        }
        if is_fresh || before == Some(true) {
            observe::fresh_replicas(is_fresh);
        }
        observe::replica(self.number, is_fresh, error.map(|error| error as _));
    }

    /// It is not asked any more, and not for its own fault.
    fn forget(&self) {
        *self.fresh_as_of.lock() = None;
        if self.told.lock().take() == Some(true) {
            observe::fresh_replicas(false);
        }
    }
}

impl<DB: Dialect> Drop for Replica<DB> {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
