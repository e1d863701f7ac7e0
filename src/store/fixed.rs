//! [`FixedStore`]: a handful of keys that are known at start.

use std::{collections::HashSet, env, fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{KeyStore, Lookup, SharedRecord, fronts::Fronts};
use crate::{
    clock::{Clock, SystemClock},
    error::{ConfigError, StoreError},
    key::{KeyDigest, KeyFormat, KeyHasher, KeyId, KeyRecord, strength},
    runtime::{DigestMap, MapDigest, async_methods},
    text::Text,
};

/// A handful of keys from the environment or configuration, held as digests: an administrator's
/// key, a partner or two. Lookups never wait.
///
/// The ids of its keys follow from their names, so they are the same after every start: what is
/// counted under an id, such as a shared limit, goes on, also when the secret is replaced. No two
/// keys of a store have the same name. Services that share a limiter but not their static keys
/// give them different names.
///
/// A key that a person thought up can be guessed. [`weak_keys`](Self::weak_keys) finds such keys,
/// and [`refusing_weak_keys`](Self::refusing_weak_keys) refuses them.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, ConfigError, store::FixedStore};
///
/// fn admin_layer() -> Result<ApiKeyLayer, ConfigError> {
///     // An unset variable is an error that names it, not an open door.
///     Ok(ApiKeyLayer::new(FixedStore::from_env("ADMIN_API_KEY")?))
/// }
/// # let _ = admin_layer();
/// ```
#[derive(Clone, Default)]
pub struct FixedStore {
    keys: DigestMap<Arc<KeyRecord>>,
    fronts: Fronts,
    ids: HashSet<KeyId>,
    hasher: KeyHasher,
    /// The names of keys that can be guessed.
    weak: Vec<Text>,
}

impl FixedStore {
    /// A store without keys: no request gets in.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store with the one key that an environment variable holds.
    ///
    /// The key is visible ASCII of 16 to 512 bytes; it gets the variable's name. The error for an
    /// unset variable or a bad value names the variable and shows no value.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        Self::new().with_env(variable)
    }

    /// A store without keys, which makes digests this way: it must be how the layer makes them.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, KeyHasher, Peppers, store::FixedStore};
    ///
    /// let hasher = KeyHasher::hmac_sha256(Peppers::new(b"thirty-two bytes of a good pepper")?);
    /// let store = FixedStore::with_hasher(hasher.clone()).with_key("CI", "a-key-for-tests-alone")?;
    /// let layer = ApiKeyLayer::new(store).with_hasher(hasher);
    /// # let _ = layer;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn with_hasher(hasher: KeyHasher) -> Self {
        Self { hasher, ..Self::default() }
    }

    /// Adds the key that an environment variable holds, as [`from_env`](Self::from_env) does.
    pub fn with_env(self, variable: &str) -> Result<Self, ConfigError> {
        let unset = |_| ConfigError::EnvironmentUnset { variable: variable.to_owned() };
        let key = Zeroizing::new(env::var(variable).map_err(unset)?);
        if !KeyFormat::opaque().recognizes(&key) {
            return Err(ConfigError::EnvironmentValue {
                variable: variable.to_owned(),
                expected: "a key of 16 to 512 bytes of visible ASCII",
            });
        }
        self.with_key(variable, &key)
    }

    /// Adds a key, as visible ASCII of 16 to 512 bytes. It has no scopes and no owner.
    pub fn with_key(self, name: &str, key: &str) -> Result<Self, ConfigError> {
        if !KeyFormat::opaque().recognizes(key) {
            return Err(ConfigError::StaticKey { name: name.to_owned() });
        }
        let digest = self.hasher.digest(key);
        let mut store = self.with_digest(name, digest)?;
        if strength::is_weak(key) {
            store.weak.push(name.into());
        }
        Ok(store)
    }

    /// Adds a key by its digest: what a configuration file should hold. No scopes, no owner.
    pub fn with_digest(self, name: &str, digest: KeyDigest) -> Result<Self, ConfigError> {
        let now = SystemClock.now();
        self.with_record(KeyRecord::new(KeyId::from_name(name), digest, name, now))
    }

    /// Adds a key with everything that a record can say: scopes, owner, expiry. Its id and its
    /// secret are those of no other key in the store.
    pub fn with_record(mut self, record: KeyRecord) -> Result<Self, ConfigError> {
        let name = || record.name.as_str().to_owned();
        let digest = MapDigest::from(&record.digest);
        if self.keys.contains_key(&digest) {
            return Err(ConfigError::DuplicateStaticKey { name: name() });
        }
        if !self.ids.insert(record.id) {
            return Err(ConfigError::DuplicateStaticKeyName { name: name() });
        }
        self.keys.insert(digest, Arc::new(record));
        Ok(self)
    }

    /// The names of the keys that can be guessed, in the order in which they were added: keys
    /// whose length times the binary logarithm of the number of distinct characters is below 80
    /// bits. A key that was added by its digest cannot be judged.
    ///
    /// ```
    /// use tower_api_key::store::FixedStore;
    ///
    /// let store = FixedStore::new()
    ///     .with_key("thought up", "admin-secret-2026")?
    ///     .with_key("drawn", "admin_TQOvtDYjkzNbk3QAGhzlJVn8WQcH5hUOUUJYr3fWvhN2Zxlxn")?;
    /// assert_eq!(store.weak_keys().collect::<Vec<_>>(), ["thought up"]);
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn weak_keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.weak.iter().map(Text::as_str)
    }

    /// Refuses a store that holds a [weak key](Self::weak_keys). Right for every service that is
    /// reached over a network; the error says how to make a good key.
    pub fn refusing_weak_keys(self) -> Result<Self, ConfigError> {
        match self.weak.first() {
            Some(name) => Err(ConfigError::WeakStaticKey { name: name.as_str().to_owned() }),
            None => Ok(self),
        }
    }

    fn lookup(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        self.keys.get(&MapDigest::from(digest)).cloned()
    }
}

impl KeyStore for FixedStore {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        Some(self.lookup(digest).into())
    }

    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        Some(self.fronts.find_in_memory(digest, || self.lookup(digest)))
    }

    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            Ok(self.lookup(digest))
        }
    }
}

impl fmt::Debug for FixedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.values().map(|record| &record.name)).finish()
    }
}
