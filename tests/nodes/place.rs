//! Where nodes keep their keys, and how they hear of each other.

use std::{error::Error, sync::Arc, time::Duration};

use tokio::sync::RwLock;
use tower_api_key::{
    KeyManager,
    store::{
        Invalidations, KeyRepository, LocalInvalidations, MemoryStore, PostgresInvalidations,
        PostgresStore, RedisInvalidations, RedisStore,
    },
};

use crate::{
    redis_user::{self, RedisUser},
    servers::{Database, Server},
};

/// One for each test, so that tests do not hear each other.
pub(crate) enum Place {
    /// One process.
    Local(MemoryStore, LocalInvalidations),
    /// A database with the keys, which carries the messages, too.
    Postgres(PostgresPlace),
    /// A server with the keys, which carries the messages, too.
    Redis(RedisUser),
}

pub(crate) struct PostgresPlace {
    database: Database,
    url: String,
    password: String,
}

/// Instantiates tests, which are functions of a [`Place`], for every kind of it.
macro_rules! everywhere {
    ($($test:ident),* $(,)?) => {
        at!(local: $($test),*);
        on_servers!($($test),*);
    };
}

/// As `everywhere`, for those places that have a server.
macro_rules! on_servers {
    ($($test:ident),* $(,)?) => {
        at!(postgres: $($test),*);
        at!(redis: $($test),*);
    };
}

macro_rules! at {
    ($place:ident: $($test:ident),*) => {
        mod $place {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let _turn = $crate::place::TURNS.read().await;
                    if let Some(place) = $crate::place::Place::$place().await {
                        super::$test(&place).await;
                    }
                }
            )*
        }
    };
}

/// As `on_servers`, for tests that measure time: nothing else of this binary goes on meanwhile.
macro_rules! alone_on_servers {
    ($($test:ident),* $(,)?) => {
        alone_at!(postgres: $($test),*);
        alone_at!(redis: $($test),*);
    };
}

macro_rules! alone_at {
    ($place:ident: $($test:ident),*) => {
        mod $place {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let _turn = $crate::place::TURNS.write().await;
                    if let Some(place) = $crate::place::Place::$place().await {
                        super::$test(&place).await;
                    }
                }
            )*
        }
    };
}

/// Whether tests go on at the same time.
pub(crate) static TURNS: RwLock<()> = RwLock::const_new(());

impl Place {
    #[allow(clippy::unused_async, reason = "all are made in the same way")]
    pub(crate) async fn local() -> Option<Self> {
        Some(Self::Local(MemoryStore::new(), LocalInvalidations::new()))
    }

    /// `None` when the tests with this server are left out.
    pub(crate) async fn postgres() -> Option<Self> {
        let database = Database::new(Server::Postgres).await?;
        let (url, password) = with_password(database.url());
        Some(Self::Postgres(PostgresPlace { database, url, password }))
    }

    /// `None` when the tests with this server are left out.
    #[allow(clippy::unused_async, reason = "all are made in the same way")]
    pub(crate) async fn redis() -> Option<Self> {
        RedisUser::new().map(Self::Redis)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Local(..) => "one process",
            Self::Postgres(_) => "PostgreSQL",
            Self::Redis(_) => "Redis",
        }
    }

    /// The server's address.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(place) => &place.url,
            Self::Redis(user) => user.url(),
        }
    }

    /// The password in the address.
    pub(crate) fn password(&self) -> &str {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(place) => &place.password,
            Self::Redis(_) => redis_user::PASSWORD,
        }
    }

    /// The keys, over connections of their own.
    pub(crate) async fn store(&self) -> Arc<dyn KeyRepository> {
        match self {
            Self::Local(store, _) => Arc::new(store.clone()),
            _ => self.store_at(self.url()).await,
        }
    }

    /// The keys, with the server at another address.
    pub(crate) async fn store_at(&self, url: &str) -> Arc<dyn KeyRepository> {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(_) => Arc::new(PostgresStore::connect(url).await.unwrap()),
            Self::Redis(user) => {
                let store = RedisStore::new(url).unwrap().with_prefix(user.name()).unwrap();
                store.migrate().await.unwrap();
                Arc::new(store)
            }
        }
    }

    /// Other keys, on the same server.
    pub(crate) async fn other_store(&self) -> Arc<dyn KeyRepository> {
        match self {
            Self::Local(..) => Arc::new(MemoryStore::new()),
            Self::Postgres(_) => {
                let pool = sqlx::PgPool::connect(self.url()).await.unwrap();
                let store = PostgresStore::from_pool(pool).with_table("other_keys").unwrap();
                store.migrate().await.unwrap();
                Arc::new(store)
            }
            Self::Redis(user) => {
                let prefix = format!("{}_other", user.name());
                let store = RedisStore::new(user.url()).unwrap().with_prefix(&prefix).unwrap();
                store.migrate().await.unwrap();
                Arc::new(store)
            }
        }
    }

    /// The bus, over connections of its own.
    pub(crate) async fn bus(&self) -> Arc<dyn Invalidations> {
        match self {
            Self::Local(_, bus) => Arc::new(bus.clone()),
            _ => self.bus_at(self.url()).await,
        }
    }

    /// The bus, with the server at another address.
    pub(crate) async fn bus_at(&self, url: &str) -> Arc<dyn Invalidations> {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(_) => Arc::new(PostgresInvalidations::connect(url).await.unwrap()),
            Self::Redis(user) => Arc::new(redis_bus(user, url).await),
        }
    }

    /// A bus that asks whether the server is there after so long without a message, and waits so
    /// long for the answer.
    pub(crate) async fn asking_bus_at(
        &self,
        url: &str,
        (every, timeout): (Duration, Duration),
    ) -> Arc<dyn Invalidations> {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(_) => {
                let bus = PostgresInvalidations::connect(url).await.unwrap();
                Arc::new(bus.with_keep_alive(every, timeout))
            }
            Self::Redis(user) => {
                Arc::new(redis_bus(user, url).await.with_keep_alive(every, timeout))
            }
        }
    }

    /// A manager as another node has it, which announces what it changes.
    pub(crate) async fn manager(&self) -> KeyManager {
        KeyManager::new(self.store().await).with_invalidations(self.bus().await)
    }

    /// Publishes this, which need not be a message.
    pub(crate) async fn say(&self, text: &str) {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(place) => {
                let sql = format!("SELECT pg_notify('tower_api_key', '{text}')");
                place.database.run(&sql).await;
            }
            Self::Redis(user) => user.administer(&["PUBLISH", user.name(), text]),
        }
    }

    /// Ends every connection of this place, as an administrator does.
    pub(crate) async fn kill_connections(&self) {
        match self {
            Self::Local(..) => panic!("there is no server"),
            Self::Postgres(place) => {
                let sql = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
                    place.database.name()
                );
                place.database.administer(&sql).await;
            }
            Self::Redis(user) => user.administer(&["CLIENT", "KILL", "USER", user.name()]),
        }
    }
}

async fn redis_bus(user: &RedisUser, url: &str) -> RedisInvalidations {
    RedisInvalidations::connect(url).await.unwrap().with_channel(user.name()).unwrap()
}

/// The URL with a password, which is one that a server that does not ask for any takes, too; and
/// the password.
fn with_password(url: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, rest) = rest.split_once('@').expect("a user in the URL");
    let (name, password) = user.split_once(':').unwrap_or((user, "password-for-nobody"));
    (format!("{scheme}://{name}:{password}@{rest}"), password.to_owned())
}

/// An error and its sources in a line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}
