//! [`SqlStore`]: what every SQL store does, whatever its database.

use std::{sync::Arc, time::Duration};

use sqlx::Pool;
use tokio::time::sleep;

#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::replicas::Replicas;
use super::{
    call::{Call, Value},
    dialect::Dialect,
    event,
    kept::KeptConnection,
    owner_lock::OwnerLocks,
    pooled_connection::{PooledConnection, answer, within},
    row,
    statements::{DEFAULT_TABLE, Inserts, Statements, table_name},
};
use crate::{
    clock::Timestamp,
    error::{ConfigError, StoreError},
    key::{EventPage, EventQuery, KeyDigest, KeyEvent, KeyId, KeyRecord, OwnerId},
    runtime::Circuit,
    store::{
        batcher::Batcher,
        list::{KeyPage, KeyQuery},
        owner_bound::OwnerBound,
        repository::{ApplyOutcome, Changes, KeyUpdate, KeyUse},
        selection::{Plan, Selection},
        silence::Circuits,
    },
};

/// Keys in a table, and a connection to it.
pub(in crate::store) struct SqlStore<DB: Dialect> {
    pub(in crate::store) readers: Pool<DB>,
    /// The same as `readers`, but for a database that lets only one write at a time.
    pub(in crate::store) writer: Pool<DB>,
    pub(in crate::store) statements: Arc<Statements>,
    /// None where the database is no server, which could fall silent.
    pub(in crate::store) circuits: Option<Circuits>,
    /// Of the lookups.
    pub(in crate::store) batcher: Arc<Batcher>,
    pub(in crate::store) kept: KeptConnection<DB>,
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(in crate::store) replicas: Option<Arc<Replicas<DB>>>,
}

impl<DB: Dialect> Clone for SqlStore<DB> {
    fn clone(&self) -> Self {
        let Self { readers, writer, statements, circuits, batcher, kept, .. } = self;
        Self {
            #[cfg(any(feature = "mysql", feature = "postgres"))]
            replicas: self.replicas.clone(),
            batcher: Arc::clone(batcher),
            kept: kept.clone(),
            readers: readers.clone(),
            writer: writer.clone(),
            statements: Arc::clone(statements),
            circuits: circuits.clone(),
        }
    }
}

/// How often a transaction is tried that the database gave up in favour of another.
const TRIES: u32 = 10;

/// Waits before the next try, by chance, or those that collided would collide again.
async fn pause(tries: u32) {
    let longest = (5 << tries).min(500);
    let chance = getrandom::u32().unwrap_or(longest / 2);
    sleep(Duration::from_millis(u64::from(chance % longest))).await;
}

/// The work of a transaction.
#[derive(Clone, Copy)]
pub(super) enum Work<'w> {
    /// Changes that are known beforehand.
    Changes(&'w Changes),
    /// Those that a plan makes of selected keys.
    Planned(&'w Selection, &'w Plan),
}

/// Why changes were not made.
pub(super) enum Failed {
    /// Something else than writing a key.
    Otherwise(sqlx::Error),
    /// Writing a key, which may be a duplicate.
    OfKey(sqlx::Error),
    /// Not the database.
    OfStore(StoreError),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Otherwise(error)
    }
}

impl Failed {
    fn is_collision<DB: Dialect>(&self) -> bool {
        match self {
            Self::Otherwise(error) | Self::OfKey(error) => DB::collided(error),
            Self::OfStore(_) => false,
        }
    }
}

/// The lookups with connections of this pool. Most of them may be used for a statement each, as long
/// as the lookups are few; with more, a statement finds several.
pub(in crate::store) fn lookups<DB: Dialect>(pool: &Pool<DB>) -> Arc<Batcher> {
    let connections = pool.options().get_max_connections();
    let statements = connections - connections / 5;
    Batcher::new(usize::try_from(statements).unwrap_or(usize::MAX).max(1), None)
}

impl<DB: Dialect> SqlStore<DB> {
    /// With the default table.
    pub(in crate::store) fn new(pool: Pool<DB>) -> Self {
        let statements = Arc::new(DB::statements(DEFAULT_TABLE));
        let circuits = DB::ANSWER.map(|_| Circuits::new());
        let batcher = lookups(&pool);
        let kept = KeptConnection::new();
        Self {
            readers: pool.clone(),
            writer: pool,
            statements,
            circuits,
            batcher,
            kept,
            #[cfg(any(feature = "mysql", feature = "postgres"))]
            replicas: None,
        }
    }

    pub(in crate::store) fn with_table(mut self, name: &str) -> Result<Self, ConfigError> {
        self.statements = Arc::new(DB::statements(table_name(name)?));
        // They prove what they have of one table.
        #[cfg(any(feature = "mysql", feature = "postgres"))]
        if let Some(replicas) = &self.replicas {
            self.replicas = Some(Arc::new(replicas.of_table(&self.statements)));
        }
        Ok(self)
    }

    /// Whether an answer may come from a replica.
    #[cfg_attr(
        not(any(feature = "mysql", feature = "postgres")),
        expect(clippy::unused_self, reason = "only servers have replicas")
    )]
    pub(in crate::store) fn may_lag(&self) -> bool {
        #[cfg(any(feature = "mysql", feature = "postgres"))]
        return self.replicas.is_some();
        #[cfg(not(any(feature = "mysql", feature = "postgres")))]
        return false;
    }

    /// By the primary, as all but [`find_many`](Self::find_many).
    pub(in crate::store) async fn find(
        &self,
        digest: &KeyDigest,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let digest = *digest;
        self.unless_silent(
            |circuits| &circuits.keys,
            |this| async move { this.batcher.find(&this, digest).await },
        )
        .await
    }

    /// By a statement of its own.
    pub(super) async fn find_one(
        &self,
        digest: KeyDigest,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let call = Call::new(&self.statements.find).with(&digest.as_bytes()[..]);
        let rows = self.kept.rows(&self.readers, call, 1).await.map_err(DB::store_error)?;
        self.answered();
        rows.first().map(DB::key).transpose().map(|key| key.map(Arc::new)).map_err(DB::store_error)
    }

    /// Asks a server for what requests wait for, unless it is known to be silent.
    pub(super) async fn unless_silent<T, F>(
        &self,
        circuit: impl FnOnce(&Circuits) -> &Arc<Circuit>,
        call: impl FnOnce(Self) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        match &self.circuits {
            Some(circuits) => circuit(circuits).call(|| call(self.clone())).await,
            None => call(self.clone()).await,
        }
    }

    /// The server has answered.
    fn answered(&self) {
        if let Some(circuits) = &self.circuits {
            circuits.answered();
        }
    }

    pub(in crate::store) async fn get(
        &self,
        id: KeyId,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let call = Call::new(&self.statements.get).with(&id.as_bytes()[..]);
        let mut connection = PooledConnection::of(&self.readers).await.map_err(DB::store_error)?;
        let row = answer::<DB, _>(DB::fetch_optional(&mut connection, call)).await;
        let row = row.map_err(DB::store_error)?;
        self.answered();
        row.as_ref().map(DB::key).transpose().map(|key| key.map(Arc::new)).map_err(DB::store_error)
    }

    pub(in crate::store) async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let call = self.statements.filters.list::<DB>(query);
        let read = |row: &_| DB::key(row).map(Arc::new);
        Ok(KeyPage::from_one_more(self.rows(DB::ANSWER, call, read).await?, query.limit))
    }

    pub(in crate::store) async fn events(
        &self,
        query: &EventQuery,
    ) -> Result<EventPage, StoreError> {
        let call = self.statements.filters.events::<DB>(query);
        let events = self.rows(DB::ANSWER, call, DB::event).await?;
        Ok(EventPage::from_one_more(events, query.limit))
    }

    pub(super) async fn rows<T>(
        &self,
        limit: Option<Duration>,
        call: Option<Call<'_>>,
        read: impl Fn(&DB::Row) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let Some(call) = call else { return Ok(Vec::new()) };
        let mut connection = PooledConnection::of(&self.readers).await.map_err(DB::store_error)?;
        let rows = within(limit, DB::fetch_all(&mut connection, call)).await;
        let rows = rows.map_err(DB::store_error)?;
        self.answered();
        rows.iter().map(read).collect::<Result<_, _>>().map_err(DB::store_error)
    }

    pub(in crate::store) async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let call = Call::new(&self.statements.record_uses).with_all([Value::Made(row::uses(uses))]);
        self.write(DB::ANSWER, call).await.map(drop)
    }

    pub(in crate::store) async fn purge(
        &self,
        before: Timestamp,
        owner: Option<&OwnerId>,
    ) -> Result<u64, StoreError> {
        Self::persist(|| self.try_purge(before, owner)).await
    }

    /// Reads whole tables, which takes as long as it takes.
    async fn try_purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> sqlx::Result<u64> {
        let mut transaction = PooledConnection::begin(&self.writer).await?;
        let keys = self.statements.filters.purge::<DB>(before, owner);
        let balances = Call::new(&self.statements.purge_balances);
        let purged = async {
            let purged = DB::execute(&mut transaction, keys).await?;
            DB::execute(&mut transaction, balances).await?;
            if owner.is_none() {
                self.purge_requests(&mut transaction, before).await?;
            }
            Ok(DB::affected(&purged))
        };
        match purged.await {
            Ok(count) => transaction.commit().await.map(|()| count),
            error => {
                transaction.roll_back().await;
                error
            }
        }
    }

    /// Tries again what the database gave up in favour of another.
    async fn persist<T, F>(attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let mut tries = 1;
        loop {
            match attempt().await {
                Err(error) if DB::collided(&error) && tries < TRIES => pause(tries).await,
                result => return result.map_err(DB::store_error),
            }
            tries += 1;
        }
    }

    /// Runs a statement that writes, and returns how many rows it wrote.
    pub(super) async fn write(
        &self,
        limit: Option<Duration>,
        call: Call<'_>,
    ) -> Result<u64, StoreError> {
        Self::persist(|| self.try_write(limit, call.clone())).await
    }

    async fn try_write(&self, limit: Option<Duration>, call: Call<'_>) -> sqlx::Result<u64> {
        let mut connection = PooledConnection::of(&self.writer).await?;
        let done = within(limit, DB::execute(&mut connection, call)).await;
        done.inspect(|_| self.answered()).map(|done| DB::affected(&done))
    }

    pub(in crate::store) async fn apply(
        &self,
        changes: &Changes,
    ) -> Result<ApplyOutcome, StoreError> {
        let updated = changes.updates.iter().map(|update| &update.record);
        let keys = changes.inserts.iter().chain(updated);
        let events = changes.events.iter().map(|event| event.owner.as_ref());
        let watermark = changes.watermark.iter().map(|new| new.watermark.owner.as_ref());
        for owner in keys.map(|record| record.owner.as_ref()).chain(events).chain(watermark) {
            DB::check(owner)?;
        }
        self.in_transaction(Work::Changes(changes)).await
    }

    /// Writes in a transaction, again if the database gave it up in favour of another. Unless it
    /// is done, it comes to nothing.
    pub(super) async fn in_transaction(&self, work: Work<'_>) -> Result<ApplyOutcome, StoreError> {
        let mut tries = 1;
        loop {
            match self.try_in_transaction(work).await {
                Err(failed) if failed.is_collision::<DB>() && tries < TRIES => pause(tries).await,
                Err(Failed::Otherwise(error)) => return Err(DB::store_error(error)),
                Err(Failed::OfKey(error)) => {
                    return Err(DB::write_error(error, &self.statements.table));
                }
                Err(Failed::OfStore(error)) => return Err(error),
                Ok(update) => {
                    self.answered();
                    return Ok(update);
                }
            }
            tries += 1;
        }
    }

    async fn try_in_transaction(&self, work: Work<'_>) -> Result<ApplyOutcome, Failed> {
        let mut transaction = PooledConnection::begin(&self.writer).await?;
        let done = match work {
            Work::Changes(changes) => self.make(&mut transaction, changes).await,
            Work::Planned(selection, plan) => {
                self.make_planned(&mut transaction, selection, plan).await
            }
        };
        match done {
            Ok(ApplyOutcome::Done) => {
                transaction.commit().await?;
                Ok(ApplyOutcome::Done)
            }
            result => {
                transaction.roll_back().await;
                result
            }
        }
    }

    /// Makes all changes, up to the first that cannot be made.
    pub(super) async fn make(
        &self,
        transaction: &mut PooledConnection<DB>,
        changes: &Changes,
    ) -> Result<ApplyOutcome, Failed> {
        let Statements { insert, update, insert_event, .. } = &*self.statements;
        self.lock(transaction, &OwnerLocks::of(changes, DB::OWNER_LOCKS)).await?;
        let values = |record| row::changing(record).into_iter().chain(row::fixed(record));
        insert_all(transaction, insert, &changes.inserts.iter().collect::<Vec<_>>(), values)
            .await
            .map_err(Failed::OfKey)?;
        for KeyUpdate { record, expected, .. } in &changes.updates {
            let call = Call::new(update).with_all(row::changing(record));
            let call = call.with(&record.id.as_bytes()[..]).with(row::count(*expected));
            let call = call.with(Value::Flag(record.details.revoked_at.is_some()));
            let done = answer::<DB, _>(DB::execute(transaction, call)).await;
            if DB::affected(&done.map_err(Failed::OfKey)?) == 0 {
                return Ok(ApplyOutcome::Stale);
            }
        }
        if self.make_balances(transaction, &changes.balances).await? == ApplyOutcome::Stale
            || self.make_requests(transaction, &changes.requests).await? == ApplyOutcome::Stale
        {
            return Ok(ApplyOutcome::Stale);
        }
        if let Some(watermark) = &changes.watermark
            && self.make_watermark(transaction, watermark).await? == ApplyOutcome::Stale
        {
            return Ok(ApplyOutcome::Stale);
        }
        if let Some(bound) = &changes.owner_bound
            && self.live_keys(transaction, bound).await? > i64::from(bound.max_keys)
        {
            return Ok(ApplyOutcome::TooManyKeys);
        }
        let kept: Vec<&KeyEvent> = changes.events.iter().filter(|e| event::is_kept(e)).collect();
        insert_all(transaction, insert_event, &kept, |event| event::values(event).into_iter())
            .await?;
        Ok(ApplyOutcome::Done)
    }

    /// How many live keys an owner has, with those that this transaction has written.
    async fn live_keys(
        &self,
        transaction: &mut PooledConnection<DB>,
        bound: &OwnerBound,
    ) -> sqlx::Result<i64> {
        let Some(call) = self.statements.filters.live::<DB>(bound) else { return Ok(0) };
        answer::<DB, _>(DB::fetch_number(transaction, call)).await
    }
}

/// Adds rows, many at a time while there are as many, and returns how many were written.
pub(super) async fn insert_all<'v, DB: Dialect, T, V: Iterator<Item = Value<'v>>>(
    transaction: &mut PooledConnection<DB>,
    insert: &Inserts,
    rows: &[&'v T],
    values: impl Fn(&'v T) -> V,
) -> sqlx::Result<u64> {
    let (chunks, rest) = rows.as_chunks::<{ Inserts::MANY }>();
    let chunks = chunks.iter().map(|chunk| (&insert.many, &chunk[..]));
    let rest = rest.chunks(1).map(|row| (&insert.one, row));
    let mut written = 0;
    for (statement, rows) in chunks.chain(rest) {
        let call = Call::new(statement).with_all(rows.iter().flat_map(|row| values(row)));
        let done = answer::<DB, _>(DB::execute(transaction, call)).await?;
        written += DB::affected(&done);
    }
    Ok(written)
}
