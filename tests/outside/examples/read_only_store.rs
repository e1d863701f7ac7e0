//! A mistake, which `src/read_only_store.rs` has compiled: a manager of keys that cannot be changed.

use tower_api_key::{KeyManager, store::FixedStore};

fn main() {
    KeyManager::new(FixedStore::new());
}
