//! The task that writes the heartbeat on the primary, and has replicas show how much of it they have.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    super::{
        call::Call,
        dialect::Dialect,
        pooled_connection::{PooledConnection, answer, within},
    },
    ANSWER, Replica, Shared,
};
use crate::{error::StoreError, observe};

/// Between two questions, of the primary and of each replica.
const EVERY: Duration = Duration::from_secs(1);

/// A beat is written in place of one that is as old, by the clock of the primary: however many nodes there
/// are, it is one a second. In milliseconds.
const BEAT_EVERY: i64 = 1_000;

/// A store whose replicas were not asked for so long writes no beats. A cache in use asks about each key
/// once in its time to live.
const IDLE: Duration = Duration::from_mins(5);

impl<DB: Dialect> Shared<DB> {
    /// Goes on as long as the replicas are in use, and ends with their store.
    pub(super) async fn run(self: Arc<Self>) {
        let mut questions = JoinSet::new();
        for replica in &self.replicas {
            let (shared, replica) = (self.clone(), replica.clone());
            questions.spawn(async move {
                loop {
                    replica.ask(&shared).await;
                    sleep(EVERY).await;
                }
            });
        }
        self.beat_while_used().await;
        questions.shutdown().await;
        for replica in &self.replicas {
            replica.forget();
        }
    }

    async fn beat_while_used(&self) {
        let (mut used_at, mut fails) = (Instant::now(), false);
        while used_at.elapsed() < IDLE && !self.is_closed.load(Relaxed) {
            let done = self.beat().await;
            if let Err(error) = &done
                && !fails
            {
                observe::no_heartbeat(error);
            }
            fails = done.is_err();
            sleep(EVERY).await;
            if self.is_used.swap(false, Relaxed) {
                used_at = Instant::now();
            }
        }
    }

    /// Reads the beat of the primary, and writes another in place of one that is old.
    async fn beat(&self) -> Result<(), StoreError> {
        let Some(statements) = self.heartbeat() else { return Ok(()) };
        let mut connection = PooledConnection::of(&self.primary).await.map_err(DB::store_error)?;
        let asked = Instant::now();
        let call = Call::new(&statements.read);
        let row = answer::<DB, _>(DB::fetch_optional(&mut connection, call)).await;
        let row =
            row.and_then(|row| row.ok_or(sqlx::Error::RowNotFound)).map_err(DB::store_error)?;
        let pulse = DB::pulse(&row).map_err(DB::store_error)?;
        self.beats.seen(pulse, asked);
        // A clock that was set back must not stop the heart.
        if (0..BEAT_EVERY).contains(&DB::age_of_beat(&row).map_err(DB::store_error)?) {
            return Ok(());
        }
        let beat = getrandom::u64().map_err(StoreError::unavailable)?.cast_signed();
        let call = Call::new(&statements.write).with(beat).with(pulse.beat);
        let sent = Instant::now();
        let done = answer::<DB, _>(DB::execute(&mut connection, call)).await;
        // Or else another node was faster.
        if DB::affected(&done.map_err(DB::store_error)?) == 1 {
            self.beats.written(beat, sent);
        }
        Ok(())
    }
}

impl<DB: Dialect> Replica<DB> {
    /// Asks it for its beat, by the statement of lookups: one that can answer this can answer those.
    async fn ask(&self, shared: &Shared<DB>) {
        match self.try_ask(shared).await {
            Ok(()) => {
                let is_fresh = self.is_fresh(shared.lag_bound);
                // At first, it cannot have proven anything.
                if is_fresh || self.start.elapsed() > shared.lag_bound {
                    self.tell(is_fresh, None);
                }
            }
            Err(error) => self.fails(&DB::store_error(error)),
        }
    }

    async fn try_ask(&self, shared: &Shared<DB>) -> sqlx::Result<()> {
        let Some(call) = shared.lookup(&[]) else { return Ok(()) };
        // A connection that has to be made takes longer than an answer.
        let mut connection = PooledConnection::of(&self.pool).await?;
        let rows = within(ANSWER, DB::fetch_all(&mut connection, call)).await?;
        self.prove(shared, rows).map(drop)
    }
}
