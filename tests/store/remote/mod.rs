//! What stores must do whose database is a server that others use, too: their tables, their locks,
//! and a network in between that fails. The same for PostgreSQL and MySQL.

pub(crate) mod collisions;
pub(crate) mod faults;
pub(crate) mod migrations;
pub(crate) mod rows;
pub(crate) mod secrets;

use std::{fmt::Debug, time::Duration};

use tower_api_key::{
    ConfigError,
    store::{KeyRepository, StoreError},
};

use crate::servers::{Database, Server};

/// A kind of store, and what the tests need to know of its database.
pub(crate) trait Remote: 'static {
    const SERVER: Server;

    type Store: KeyRepository + Clone + Debug;

    fn connect(url: &str) -> impl Future<Output = Result<Self::Store, StoreError>> + Send;

    /// On a pool as an application has it.
    fn from_pool(url: &str) -> impl Future<Output = Self::Store> + Send;

    /// On a pool whose only connection is in use until the guard is dropped, and that is quick to
    /// give up.
    fn exhausted(url: &str) -> impl Future<Output = (Self::Store, Box<dyn Send>)> + Send;

    fn with_table(store: Self::Store, name: &str) -> Result<Self::Store, ConfigError>;

    fn migrate(store: &Self::Store) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn close(store: &Self::Store) -> impl Future<Output = ()> + Send;

    /// A connection as another program has it.
    fn session(url: &str) -> impl Future<Output = Self::Session> + Send;

    type Session: Session;

    /// A statement that tells everything in the schema, a row each.
    const SCHEMA: &str;
    /// A statement that makes statements, which each end another connection to this database.
    const KILL: &str;
    /// Statements that keep everybody else from the table until the session ends.
    const LOCK: &str;
    /// A statement that counts the sessions of this database that wait for a lock.
    const WAITING: &str;
    /// A statement that gives names a unique index.
    const UNIQUE_NAMES: &str;
    /// A statement that adds the row of another system: `id` and `digest` stand for hex digits.
    const FOREIGN_ROW: &str;
    /// The SQL for an id of these hex digits.
    fn id(hex: &str) -> String;

    /// What the server says when there is no table `api_keys`.
    const NO_TABLE: &str;
    /// What made the key table of schema version 1, and what led from there to version 2.
    const FIRST_VERSION: &str;
    const SECOND_VERSION: &str;
    /// What makes the view with readable times.
    const READABLE: &str;
}

/// What another program does.
pub(crate) trait Session: Send {
    /// Runs statements.
    fn run(&mut self, sql: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// The first column of all rows.
    fn rows(&mut self, sql: &str) -> impl Future<Output = Vec<String>> + Send;
}

/// Makes the tests of a kind of store, in a module with this name.
macro_rules! remote {
    ($name:ident, $kind:ty) => {
        mod $name {
            remote! { @cases $kind;
                migrations: the_applications_own_tables_are_left_alone
                migrations: a_second_migration_changes_nothing
                migrations: many_nodes_can_start_at_once
                migrations: the_keys_of_an_older_schema_are_kept
                migrations: the_keys_and_events_of_the_second_schema_are_kept
                migrations: a_newer_schema_is_refused
                migrations: somebody_elses_table_of_that_name_is_refused
                migrations: somebody_elses_bookkeeping_is_refused
                migrations: somebody_elses_table_beside_it_is_refused
                migrations: stores_with_different_tables_are_separate
                migrations: bad_table_names_are_refused
                migrations: a_store_that_was_not_migrated_says_so
                rows: a_row_that_does_not_read_as_a_key_is_an_error
                rows: what_an_older_program_disables_no_owner_has_disabled
                rows: rows_of_other_systems_work_as_they_are
                rows: counts_stop_at_the_greatest
                rows: another_unique_index_makes_no_duplicate
                rows: a_row_that_does_not_read_as_an_event_is_an_error
                rows: a_row_that_does_not_read_as_a_balance_is_an_error
                rows: a_row_that_does_not_read_as_usage_is_an_error
                rows: times_can_be_read_by_people
                collisions: flushes_in_opposite_orders_lose_nothing
                collisions: a_deadlock_is_tried_again
                collisions: a_deadlock_over_usage_is_tried_again
                collisions: a_deadlock_over_balances_is_tried_again
                faults: killed_connections_are_replaced
                faults: an_outage_is_no_denial_and_passes
                faults: a_silent_server_does_not_block_the_pool
                faults: a_server_that_never_answers_is_a_timeout
                faults: lookups_do_not_wait_for_a_silent_server
                faults: a_closed_port_is_an_error_at_once
                faults: a_locked_table_is_a_timeout
                faults: an_exhausted_pool_is_a_timeout
                faults: a_closed_store_is_an_error
                faults: calls_that_are_dropped_do_no_harm
                faults: changes_that_are_dropped_are_made_wholly_or_not_at_all
                secrets: errors_and_debug_tell_no_digest
                secrets: errors_and_debug_tell_no_password
            }
        }
    };
    (@cases $kind:ty; $($file:ident: $case:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let server = <$kind as crate::remote::Remote>::SERVER;
            let Some(database) = crate::servers::Database::new(server).await else { return };
            crate::remote::$file::$case::<$kind>(&database).await;
        }
    )* };
}

async fn open<R: Remote>(database: &Database) -> R::Store {
    R::connect(database.url()).await.unwrap()
}

async fn session<R: Remote>(database: &Database) -> R::Session {
    R::session(database.url()).await
}

async fn schema<R: Remote>(session: &mut R::Session) -> Vec<String> {
    session.rows(R::SCHEMA).await
}

/// Far longer than anything takes, even on a machine that is busy with something else.
const LONG: Duration = Duration::from_mins(2);

/// Asks until `ask` finds something.
async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, found).await.expect("it comes to pass")
}
