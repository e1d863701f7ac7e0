//! The stores from outside. [`conformance`] is what every store must do, [`own_cases`] what all of ours
//! do beyond that, and [`remote`] what those must do whose database is a server. What is special about
//! each has a module of its own.
//! [`connect`] opens them by URL, [`pepper`] is a change of peppers from end to end, and [`usage`]
//! is what recorders write.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod abandoned;
#[cfg(feature = "cache")]
mod cold_start;
mod connect;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod first_version;
#[macro_use]
mod own_cases;
#[cfg(any(feature = "mysql", feature = "postgres"))]
#[macro_use]
mod remote;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres"))]
#[path = "../support/own.rs"]
mod own;
#[cfg(all(feature = "cache", feature = "mysql", feature = "postgres"))]
#[path = "../support/pairs.rs"]
mod pairs;
mod pepper;
#[cfg(feature = "postgres")]
mod postgres;
#[path = "../support/proxy.rs"]
mod proxy;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(feature = "cache", feature = "mysql", feature = "postgres"))]
mod replica;
#[path = "../support/servers.rs"]
mod servers;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod silent;
#[cfg(feature = "sqlite")]
mod sqlite;
mod support;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod usage;
mod watermarks;

use tower_api_key::{store::MemoryStore, testing::conformance};

conformance!(memory, async { (MemoryStore::new(), ()) });

#[cfg(feature = "cache")]
conformance!(cached_memory, async {
    (tower_api_key::store::CachedStore::new(MemoryStore::new()), ())
});

#[cfg(feature = "sqlite")]
conformance!(sqlite_in_memory, async {
    (tower_api_key::store::SqliteStore::in_memory().await.unwrap(), ())
});

#[cfg(feature = "sqlite")]
conformance!(sqlite_file, async {
    let file = sqlite::File::new();
    (file.open().await, file)
});

#[cfg(feature = "postgres")]
conformance!(postgres_server, postgres::open());

#[cfg(feature = "mysql")]
conformance!(mysql_server, mysql::open());

#[cfg(feature = "redis")]
conformance!(redis_server, redis::open(), without_events);
