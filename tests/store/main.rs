//! The stores from outside. [`conformance`] is what every store must do, [`sqlite`] what is
//! special about SQLite, [`pepper`] a change of peppers from end to end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[macro_use]
mod conformance;
mod pepper;
#[cfg(feature = "sqlite")]
mod sqlite;
mod support;

use tower_api_key::store::MemoryStore;

conformance!(memory, async { (MemoryStore::new(), ()) });

#[cfg(feature = "sqlite")]
conformance!(sqlite_in_memory, async {
    (tower_api_key::store::SqliteStore::in_memory().await.unwrap(), ())
});

#[cfg(feature = "sqlite")]
conformance!(sqlite_file, async {
    let file = sqlite::File::new();
    (file.open().await, file)
});
