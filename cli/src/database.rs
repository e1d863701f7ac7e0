//! The store behind `DATABASE_URL`, and the manager of its keys.

use std::{env, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, Database as Kind, Executor, FromRow, IntoArguments,
    MySqlConnection, PgConnection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tower_api_key::{
    ConfigError, KeyHasher, KeyManager, Peppers, Timestamp,
    clock::{Clock, SystemClock},
    credits::Balance,
    key::KeyRecord,
    store::{
        self, ConnectError, Invalidations, KeyRepository, MySqlStore, PostgresStore, SqliteStore,
        StoreError, StoreKind,
    },
};

use crate::{
    environment::variable,
    failure::{Failure, causes},
    tables,
};

#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Args {
    /// The table with the keys, in a SQL database; `api_keys` if none is given. Only `migrate` makes
    /// one that is not there
    #[arg(long, global = true, env = "TOWER_API_KEY_TABLE", value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// In whose name the audit log has changes; your user name if none is given
    #[arg(long, global = true, env = "TOWER_API_KEY_ACTOR", value_name = "NAME")]
    actor: Option<String>,
}

/// The access of a command to the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Running services are told.
    Change,
    /// The same, and a SQLite file that is not there is made. For other commands it would be a
    /// mistyped name.
    Add,
    /// Makes the tables, whatever their name is. For other commands it would be a mistyped one.
    Make,
}

/// An open store.
pub(crate) struct Database {
    pub(crate) repository: Arc<dyn KeyRepository>,
    pub(crate) manager: KeyManager,
    /// That running services are told of changes by, if there is one, and this command changes something.
    pub(crate) buses: Vec<Arc<dyn Invalidations>>,
    pub(crate) hasher: KeyHasher,
    /// Whether keys that are stored as plain SHA-256 are found.
    pub(crate) accepts_plain: bool,
}

impl Database {
    pub(crate) async fn open(args: &Args, access: Access) -> Result<Self, Failure> {
        let url = variable("DATABASE_URL")?.ok_or_else(|| {
            Failure::Usage("DATABASE_URL is not set; it says where the keys are".to_owned())
        })?;
        let Hashing { hasher, accepts_plain } = hashing()?;
        let kind = StoreKind::of_url(&url).map_err(ConnectError::from)?;
        match (kind, access) {
            (StoreKind::Memory, _) => {
                let text = "DATABASE_URL: `memory:` keeps nothing after this command";
                return Err(Failure::Usage(text.to_owned()));
            }
            (StoreKind::Sqlite, Access::Make) => {}
            (StoreKind::Sqlite, Access::Add) if args.table.is_none() => {}
            (StoreKind::Sqlite, _) => check_file("DATABASE_URL", &url)?,
            _ => {}
        }
        let repository = match &args.table {
            None => store::connect(&url).await?,
            Some(table) => {
                if access != Access::Make {
                    check_table(kind, &url, table).await?;
                }
                connect_to_table(kind, &url, table).await?
            }
        };
        let actor = args.actor.clone().or_else(|| env::var("USER").ok());
        let mut manager = KeyManager::new(repository.clone())
            .with_hasher(hasher.clone())
            .acting_as(actor.as_deref().unwrap_or("tower-api-key"));
        let buses = if access == Access::Read { Vec::new() } else { buses(kind, &url).await? };
        for bus in &buses {
            manager = manager.with_invalidations(bus.clone());
        }
        Ok(Self { repository, manager, buses, hasher, accepts_plain })
    }

    /// The balance of a key.
    pub(crate) async fn balance(
        &self,
        record: &Arc<KeyRecord>,
    ) -> Result<Option<Balance>, Failure> {
        let balances = self.manager.balances_of(std::slice::from_ref(record)).await?;
        Ok(balances.into_iter().next().flatten())
    }

    pub(crate) async fn close(&self) {
        self.repository.close().await;
    }
}

/// Refuses a file that is not there: the value of `setting` may be mistyped.
pub(crate) fn check_file(setting: &str, url: &str) -> Result<(), Failure> {
    // An unreadable URL is for `connect` to refuse.
    let Ok(options) = url.parse::<SqliteConnectOptions>() else { return Ok(()) };
    let file = options.get_filename();
    if file.exists() {
        return Ok(());
    }
    let text = format!("{setting}: there is no file {}; `migrate` makes one", file.display());
    Err(Failure::Usage(text))
}

/// Refuses a table that is not there, and names those that are.
pub(crate) async fn check_table(kind: StoreKind, url: &str, table: &str) -> Result<(), Failure> {
    /// As long as the stores wait for a connection.
    const TIMEOUT: Duration = Duration::from_secs(5);
    let names = tokio::time::timeout(TIMEOUT, table_names(kind, url));
    let names = names.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    let names = names.map_err(|error| ConnectError::Store(StoreError::unavailable(error)))?;
    if let Some(names) = names
        && !names.iter().any(|name| name == table)
    {
        let missing = tables::missing(table, &names);
        let text = "`migrate` makes one, and `import` reads one with --from-table";
        return Err(Failure::Table(format!("{missing}. {text}")));
    }
    Ok(())
}

/// The tables of a SQL database; `None` if it is another.
async fn table_names(kind: StoreKind, url: &str) -> sqlx::Result<Option<Vec<String>>> {
    let names = match kind {
        StoreKind::Sqlite => names::<SqliteConnection>(url, tables::SQLITE).await,
        StoreKind::Postgres => names::<PgConnection>(url, tables::POSTGRES).await,
        StoreKind::MySql => names::<MySqlConnection>(url, tables::MYSQL).await,
        // For `connect_to_table` to refuse.
        _ => return Ok(None),
    };
    names.map(Some)
}

/// The answer to a query, over a connection of its own.
async fn names<C>(url: &str, query: &'static str) -> sqlx::Result<Vec<String>>
where
    C: Connection<Options: ConnectOptions<Connection = C>>,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
    <C::Database as Kind>::Arguments: IntoArguments<C::Database>,
    (String,): for<'r> FromRow<'r, <C::Database as Kind>::Row>,
{
    let options = url.parse::<C::Options>()?.disable_statement_logging();
    let mut connection = options.connect().await?;
    let names = sqlx::query_scalar(query).fetch_all(&mut connection).await;
    connection.close().await?;
    names
}

/// How the service makes digests. Without its peppers, its keys would be unknown here.
pub(crate) struct Hashing {
    pub(crate) hasher: KeyHasher,
    /// Whether keys that are stored as plain SHA-256 are found.
    pub(crate) accepts_plain: bool,
}

pub(crate) fn hashing() -> Result<Hashing, Failure> {
    const CURRENT: &str = "TOWER_API_KEY_PEPPER";
    const NEXT: &str = "TOWER_API_KEY_PEPPER_NEXT";
    const RETIRED: &str = "TOWER_API_KEY_PEPPER_RETIRED";
    const PLAIN_UNTIL: &str = "TOWER_API_KEY_PEPPER_PLAIN_UNTIL";
    let in_variable =
        |variable: &str, error: ConfigError| Failure::Usage(format!("{variable}: {error}"));
    let (next, retired, plain_until) =
        (variable(NEXT)?, variable(RETIRED)?, variable(PLAIN_UNTIL)?);
    let next = match &next {
        Some(text) => Some(Peppers::line(text).map_err(|error| in_variable(NEXT, error))?),
        None => None,
    };
    if env::var_os(CURRENT).is_none() {
        for (variable, value) in [(RETIRED, &retired), (PLAIN_UNTIL, &plain_until)] {
            if value.is_some() {
                return Err(Failure::Usage(format!("{variable} is set, but {CURRENT} is not")));
            }
        }
        let hasher = match next {
            Some(next) => KeyHasher::sha256_with_next(next),
            None => Ok(KeyHasher::sha256()),
        };
        let hasher = hasher.map_err(|error| in_variable(NEXT, error))?;
        return Ok(Hashing { hasher, accepts_plain: true });
    }
    let mut peppers = Peppers::from_env(CURRENT)?;
    if let Some(next) = next {
        peppers = peppers.with_next(next).map_err(|error| in_variable(NEXT, error))?;
    }
    if let Some(retired) = retired {
        let added = peppers.with_retired_lines(&retired);
        peppers = added.map_err(|error| in_variable(RETIRED, error))?;
    }
    let mut accepts_plain = false;
    if let Some(until) = plain_until {
        let until: Timestamp = until.trim_end().parse().map_err(|_| {
            let example = "a date and time such as 2030-01-31T12:00:00Z";
            Failure::Usage(format!("{PLAIN_UNTIL} must be {example}"))
        })?;
        accepts_plain = SystemClock.now() < until;
        peppers = peppers.with_retired_plain(until);
    }
    Ok(Hashing { hasher: KeyHasher::hmac_sha256(peppers), accepts_plain })
}

/// Like `store::connect`, which knows only the default table.
pub(crate) async fn connect_to_table(
    kind: StoreKind,
    url: &str,
    table: &str,
) -> Result<Arc<dyn KeyRepository>, Failure> {
    let failed = |error: sqlx::Error| ConnectError::Store(StoreError::unavailable(error));
    let migrated = |result: Result<(), StoreError>| result.map_err(ConnectError::Store);
    Ok(match kind {
        StoreKind::Sqlite => {
            // As `SqliteStore::open` has it, but for the journal: the file is an application's.
            let options = url.parse::<SqliteConnectOptions>().map_err(failed)?;
            let options = options
                .create_if_missing(true)
                .busy_timeout(Duration::from_secs(2))
                .synchronous(SqliteSynchronous::Full)
                .disable_statement_logging();
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
            let store = SqliteStore::from_pool(pool.map_err(failed)?).with_table(table)?;
            migrated(store.migrate().await)?;
            Arc::new(store)
        }
        StoreKind::Postgres => Arc::new(PostgresStore::connect_to_table(url, table).await?),
        StoreKind::MySql => Arc::new(MySqlStore::connect_to_table(url, table).await?),
        _ => return Err(Failure::Table("is for SQL databases".to_owned())),
    })
}

/// The buses that tell running services to forget cached keys: the database if it can, and the one that
/// `REDIS_URL` names. A service may listen to either.
async fn buses(
    kind: StoreKind,
    database_url: &str,
) -> Result<Vec<Arc<dyn Invalidations>>, Failure> {
    let redis_url = variable("REDIS_URL")?.filter(|url| !url.is_empty());
    if let Some(url) = &redis_url
        && StoreKind::of_url(url) != Ok(StoreKind::Redis)
    {
        let text = "REDIS_URL must be like redis://host:port, or empty";
        return Err(Failure::Usage(text.to_owned()));
    }
    // The others have none, and a table of an application may be opened with options of its own.
    let own = matches!(kind, StoreKind::Postgres | StoreKind::Redis).then_some(database_url);
    let redis = redis_url.as_deref().filter(|url| **url != *database_url);
    let mut buses = Vec::new();
    for url in own.into_iter().chain(redis.map(|url| &**url)) {
        let bus = store::connect_bus(url).await.map_err(|error| match error {
            ConnectError::Store(error) => Failure::store("cannot announce changes: ", &error),
            error => Failure::Usage(format!("cannot announce changes: {}", causes(&error))),
        })?;
        buses.extend(bus);
    }
    Ok(buses)
}
