//! Keys that another system stored as bcrypt or argon2 hashes, and what they cost.

mod first_use;
mod outage;
mod refused;
mod store;
mod vanished;

use argon2::{Argon2, Params, PasswordHasher};
use tower_api_key::{
    KeyHasher, KeyId,
    key::{KeyRecord, LegacyHash},
    store::KeyRepository,
};

use crate::support::{NOW, record_with};

/// As long as the other system kept it.
const START: usize = 8;

/// A key of the other system, which begins like no other.
pub(crate) fn key(n: usize) -> String {
    format!("{n:08x}-key-of-another-system")
}

fn bcrypt_of(key: &str) -> String {
    bcrypt::hash(key, 4).unwrap()
}

fn argon2_of(key: &str) -> String {
    let params = Params::new(16, 1, 1, None).unwrap();
    let argon2 = Argon2::from(params);
    argon2.hash_password_with_salt(key.as_bytes(), b"salt of the tests").unwrap().to_string()
}

/// A key as an importer makes it, of this slow hash.
fn imported(key: &str, hash: &str) -> KeyRecord {
    record_with(key, |record| {
        // Of nothing that anybody could send.
        record.digest = KeyHasher::sha256().digest(format!("not a key: {}", record.id));
        record.start = key[..START].into();
        record.revision = 0;
        record.details.legacy_hash = Some(LegacyHash::parse(hash).unwrap());
    })
}

/// Imports keys of these numbers, as bcrypt hashes.
pub(crate) async fn import(
    store: &impl KeyRepository,
    numbers: impl IntoIterator<Item = usize>,
) -> KeyId {
    let mut last = KeyId::generate(NOW).unwrap();
    for n in numbers {
        let record = imported(&key(n), &bcrypt_of(&key(n)));
        store.insert(&record).await.unwrap();
        last = record.id;
    }
    last
}

/// Lets spawned work that does not wait for anything finish; there is one thread.
async fn let_others_run() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}
