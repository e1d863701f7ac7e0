//! [`FixedStore`]: a handful of keys that are known at start.

use std::{env, fmt, sync::Arc};

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{
    KeyStore, Lookup, StoreError,
    digest_map::{DigestMap, MapDigest},
};
use crate::{
    Clock, KeyDigest, KeyFormat, KeyHasher, KeyId, KeyRecord, SystemClock, error::ConfigError,
};

/// A handful of keys from the environment or configuration, held as digests: an administrator's
/// key, a partner or two. Lookups never wait.
///
/// The ids of its keys are derived from their digests, so they are the same after every start.
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
    hasher: KeyHasher,
}

impl FixedStore {
    /// A store without keys: nobody gets in.
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

    /// Makes digests this way: it must be how the layer makes them. Set it before adding keys.
    pub fn with_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hasher = hasher;
        self
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
        self.with_digest(name, digest)
    }

    /// Adds a key by its digest: what a configuration file should hold. No scopes, no owner.
    pub fn with_digest(self, name: &str, digest: KeyDigest) -> Result<Self, ConfigError> {
        let now = SystemClock.now();
        self.with_record(KeyRecord::new(KeyId::from_digest(&digest), digest, name, now))
    }

    /// Adds a key with everything that a record can say: scopes, owner, expiry.
    pub fn with_record(mut self, record: KeyRecord) -> Result<Self, ConfigError> {
        let digest = MapDigest::from(&record.digest);
        if self.keys.contains_key(&digest) {
            return Err(ConfigError::DuplicateStaticKey { name: record.name.as_str().to_owned() });
        }
        self.keys.insert(digest, Arc::new(record));
        Ok(self)
    }

    fn lookup(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        self.keys.get(&MapDigest::from(digest)).cloned()
    }
}

#[async_trait]
impl KeyStore for FixedStore {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        Some(self.lookup(digest).into())
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(self.lookup(digest))
    }
}

impl fmt::Debug for FixedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.values().map(|record| &record.name)).finish()
    }
}
