//! The database servers that tests run against, and a place of its own in them for each test.
//!
//! `TEST_POSTGRES_URL`, `TEST_MYSQL_URL` and `TEST_REDIS_URL` say where they are, if not at their
//! usual port on this machine. A server that is missing fails its tests. Those named in
//! `TEST_WITHOUT` (`postgres,mysql,redis`) are left out, and that is said.

#![allow(dead_code, reason = "every test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    collections::BTreeSet,
    env,
    io::{Write, stderr},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    Postgres,
    MySql,
    Redis,
}

impl Server {
    /// What `TEST_WITHOUT` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Redis => "redis",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "TEST_POSTGRES_URL",
            Self::MySql => "TEST_MYSQL_URL",
            Self::Redis => "TEST_REDIS_URL",
        }
    }

    fn usual_url(self) -> &'static str {
        match self {
            Self::Postgres => "postgres://root@127.0.0.1:5432/test",
            Self::MySql => "mysql://root@127.0.0.1:3306/test",
            Self::Redis => "redis://127.0.0.1:6379",
        }
    }

    /// Where it is. `None` when its tests are left out.
    pub(crate) fn url(self) -> Option<String> {
        let without = env::var("TEST_WITHOUT").unwrap_or_default();
        if without.split(',').any(|name| name.trim() == self.name()) {
            self.say_left_out();
            return None;
        }
        Some(env::var(self.variable()).unwrap_or_else(|_| self.usual_url().to_owned()))
    }

    /// Once, and past the test harness, which shows only what failing tests print.
    fn say_left_out(self) {
        static SAID: Mutex<BTreeSet<Server>> = Mutex::new(BTreeSet::new());
        if SAID.lock().unwrap().insert(self) {
            let name = self.name();
            let _ = writeln!(stderr(), "TEST_WITHOUT: the tests with {name} are left out");
        }
    }

    /// Ends a test whose server is not there. Shows no URL, which may hold a password.
    pub(crate) fn missing(self, error: impl std::fmt::Display) -> ! {
        let (name, variable) = (self.name(), self.variable());
        panic!(
            "no test database in {name}: {error}. Set {variable} to the URL of a server where one \
             can be made, or leave its tests out with TEST_WITHOUT={name}"
        )
    }
}

/// A name like no other on the server: of a database, a table or a prefix of keys.
pub(crate) fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("tower_api_key_{now:x}_{process:x}_{count}")
}

/// A new and empty database, dropped with this.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) struct Database {
    server: Server,
    /// Of a database that is there, from which others are made.
    server_url: String,
    name: String,
    url: String,
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
impl Database {
    /// `None` when the tests of this server are left out.
    pub(crate) async fn new(server: Server) -> Option<Self> {
        let server_url = server.url()?;
        let name = unique_name();
        let create = match server {
            Server::Postgres => format!("CREATE DATABASE {name} TEMPLATE template0"),
            // Capitals and accents do not matter to it, and it says so here lest it become another.
            Server::MySql => {
                format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
            }
            Server::Redis => panic!("Redis has no databases to make"),
        };
        if let Err(error) = run(server, &server_url, &create).await {
            server.missing(error);
        }
        let url = with_database(&server_url, &name);
        Some(Self { server, server_url, name, url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements on the server from outside of the database, as an administrator does.
    pub(crate) async fn administer(&self, sql: &str) {
        run(self.server, &self.server_url, sql).await.unwrap();
    }

    /// Runs statements in the database, on a connection of their own.
    pub(crate) async fn run(&self, sql: &str) {
        run(self.server, &self.url, sql).await.unwrap();
    }
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
impl Drop for Database {
    fn drop(&mut self) {
        // Whatever is still connected. MySQL does not mind connections that do nothing.
        let force = if self.server == Server::Postgres { " WITH (FORCE)" } else { "" };
        let sql = format!("DROP DATABASE {}{force}", self.name);
        let (server, url) = (self.server, self.server_url.clone());
        // The runtime of the test may be about to end, and must not be waited for in here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(server, &url, &sql))
        });
        let _ = dropped.join();
    }
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
async fn run(server: Server, url: &str, sql: &str) -> sqlx::Result<()> {
    use sqlx::{AssertSqlSafe, Connection};
    let query = sqlx::raw_sql(AssertSqlSafe(sql));
    match server {
        #[cfg(feature = "postgres")]
        Server::Postgres => {
            let mut connection = sqlx::PgConnection::connect(url).await?;
            query.execute(&mut connection).await?;
            connection.close().await
        }
        #[cfg(feature = "mysql")]
        Server::MySql => {
            let mut connection = sqlx::MySqlConnection::connect(url).await?;
            query.execute(&mut connection).await?;
            connection.close().await
        }
        _ => panic!("the feature for {server:?} is off"),
    }
}

/// The URL with another database: `scheme://user@host:port/database?options`.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn with_database(url: &str, database: &str) -> String {
    let (base, options) = url.split_once('?').unwrap_or((url, ""));
    let authority = base.find("://").map_or(0, |scheme| scheme + 3);
    let path = base[authority..].find('/').map_or(base.len(), |slash| authority + slash);
    format!("{}/{database}?{options}", &base[..path])
}
