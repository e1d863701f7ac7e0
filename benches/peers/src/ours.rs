//! The layer, as applications configure it.

use std::num::NonZeroU64;

use tower_api_key::{
    ApiKeyLayer, Credits, IssuerSecrets, KeyFormat, KeyHasher, KeyManager, KeySource, NewKey,
    RateLimits, UsageRecorder,
    limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
    nonzero,
    store::MemoryStore,
};

use crate::keys::Keys;

/// As a manager makes it: two sources, the format of its keys, cache headers.
pub fn defaults(keys: &Keys) -> ApiKeyLayer {
    KeyManager::new(keys.memory().clone()).layer()
}

/// Any store and any key, in one header.
pub fn one_source(keys: &Keys) -> ApiKeyLayer {
    ApiKeyLayer::new(keys.memory().clone())
        .with_sources([KeySource::x_api_key()])
        .insecure_without_cache_headers()
}

/// [`defaults`] over a cache.
pub fn cached(keys: &Keys) -> ApiKeyLayer {
    KeyManager::new(keys.cached().clone()).layer()
}

/// [`cached`], and uses are counted.
pub fn counting(keys: &Keys) -> ApiKeyLayer {
    cached(keys).with_usage(UsageRecorder::new(keys.memory().clone()).expect("a store of uses"))
}

/// [`cached`], with a limit that is counted in memory.
pub fn limited(keys: &Keys, with_fields: bool) -> ApiKeyLayer {
    let rate = RateLimits::new(LocalLimiter::new());
    let rate = if with_fields { rate } else { rate.without_headers() };
    cached(keys).with_rate_limits(rate.with_tiers(tiers()))
}

/// [`cached`], with a limit that Redis lends: enough requests for this program. `None` where there is
/// no Redis.
#[cfg(feature = "redis")]
pub fn leased(keys: &Keys) -> Option<ApiKeyLayer> {
    use std::time::Duration;

    use tower_api_key::{
        key::KeyDigest,
        limit::{LimitCheck, LimitSubject, RateLimiter, RedisLimiter},
        store::KeyStore,
    };

    let url = std::env::var("TEST_REDIS_URL");
    let url = url.unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let limits = limits();
    keys.runtime().block_on(async {
        let limiter = RedisLimiter::builder(&url).with_prefix("bench");
        let limiter = limiter.with_lease_time(Duration::from_mins(1)).connect().await.ok()?;
        let digest: KeyDigest = KeyHasher::sha256().digest(&keys.sent()[0]);
        let record = keys.memory().find(&digest).await.ok()??;
        let check = LimitCheck::new(LimitSubject::Lineage(record.lineage()), &limits);
        let check = check.with_cost(1_000_000_000);
        limiter.check(&check).await.ok()?;
        limiter.give_back(&check, Duration::ZERO);
        let rate = RateLimits::new(limiter).without_headers().with_tiers(tiers());
        Some(cached(keys).with_rate_limits(rate))
    })
}

/// [`defaults`], and handlers do not see the key.
pub fn hiding(keys: &Keys) -> ApiKeyLayer {
    defaults(keys).hide_credentials()
}

/// As the reference server has it, a cache, four sources, hidden keys, limits, credits, uses, for keys
/// that spend credits.
pub fn everything(keys: &Keys) -> ApiKeyLayer {
    server(keys, keys.with_credits())
}

/// The same for keys that spend none.
pub fn without_spending(keys: &Keys) -> ApiKeyLayer {
    server(keys, keys.memory())
}

fn server(keys: &Keys, store: &MemoryStore) -> ApiKeyLayer {
    let lease = NonZeroU64::new(1 << 20).expect("not zero");
    let credits = Credits::builder(store.clone()).with_lease(lease).build();
    KeyManager::new(keys.cache(store.clone()))
        .with_rate_limits(RateLimits::new(LocalLimiter::new()).with_tiers(tiers()))
        .with_credits(credits.expect("a store of balances"))
        .with_usage(UsageRecorder::new(store.clone()).expect("a store of uses"))
        .layer()
        .with_sources([
            KeySource::x_api_key(),
            KeySource::bearer(),
            KeySource::query("api_key").expect("a name"),
            KeySource::cookie("api_key").expect("a name"),
        ])
        .without_grpc_denials()
        .hide_credentials()
}

/// [`defaults`] for sealed keys alone, under so many issuer secrets, and a key under the last that is
/// tried.
pub fn sealed(keys: &Keys, secrets: usize) -> (ApiKeyLayer, String) {
    let manager = KeyManager::new(keys.memory().clone()).with_format(sealed_format(secrets));
    let issuing = manager.clone().with_format(sealed_format(1));
    let issued = keys.runtime().block_on(issuing.create(NewKey::named("sealed")));
    (manager.layer(), issued.expect("a key").secret.expose().to_owned())
}

/// A format with so many issuer secrets. The last that is tried is the same, however many there are.
pub fn sealed_format(secrets: usize) -> KeyFormat {
    let first = [1; 32];
    let several = || {
        let newest = IssuerSecrets::new(&[2; 32])?;
        let middle = (2..secrets).try_fold(newest, |all, number| {
            all.with_retired(&[u8::try_from(number + 1).unwrap_or(u8::MAX); 32])
        })?;
        middle.with_retired(&first)
    };
    let secrets = if secrets == 1 { IssuerSecrets::new(&first) } else { several() };
    let format = KeyFormat::new("key").expect("a prefix");
    let format = format.sealed(secrets.expect("secrets"), &KeyHasher::sha256());
    format.and_then(KeyFormat::sealed_only).expect("a format")
}

/// A key of the right shape under another seal.
pub fn forged() -> String {
    let secrets = IssuerSecrets::new(&[0; 32]).expect("a secret");
    let format = KeyFormat::new("key").expect("a prefix");
    let format = format.sealed(secrets, &KeyHasher::sha256()).expect("a format");
    format.generate().expect("random bytes").expose().to_owned()
}

/// More than are ever sent.
fn limits() -> Limits {
    let quota = Quota::per_second(nonzero!(1_000_000)).with_burst(nonzero!(u32::MAX));
    Limits::new([Limit::new("second", quota).expect("a limit")]).expect("limits")
}

fn tiers() -> Tiers {
    Tiers::new().with_default(limits())
}
