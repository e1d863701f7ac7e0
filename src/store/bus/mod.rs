//! [`Invalidations`]: how nodes tell each other to forget a key.

mod announced;
mod announcer;
mod local;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod message;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::{error::Error, sync::Arc};

use async_trait::async_trait;

use crate::{
    error::{BackEnd, StoreError},
    key::KeyDigest,
};

pub(crate) use self::announced::Announced;
pub use self::local::LocalInvalidations;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresInvalidations;
#[cfg(feature = "redis")]
pub use self::redis::RedisInvalidations;

/// Carries "forget this key" between nodes: from the [`KeyManager`](crate::KeyManager) that
/// changed it to every [`CachedStore`](super::CachedStore).
///
/// | bus | feature | for |
/// |---|---|---|
/// | [`LocalInvalidations`] | – | several caches in one process |
/// | `PostgresInvalidations` | `postgres` | keys in PostgreSQL: nothing else has to be run |
/// | `RedisInvalidations` | `redis` | keys in Redis, or anywhere: MySQL has nothing to carry messages with |
///
/// Without any, as with `MySqlStore` alone, other nodes learn of a change when what they have
/// cached has lived its [time](super::CachedStoreBuilder::with_ttl).
///
/// # Contract
///
/// - What is published after `subscribe` has returned reaches the subscription, or its `next` is
///   an error. A message may arrive more than once, and also where it was sent.
/// - A lost message without an error is the one thing that must not happen: a subscriber that is
///   too slow, or a connection that was made anew, is an error.
#[async_trait]
pub trait Invalidations: Send + Sync + 'static {
    /// Tells every subscriber to forget these keys.
    async fn publish(&self, digests: &[KeyDigest]) -> Result<(), StoreError>;

    /// Starts to listen.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError>;
}

/// The bus does not work, and this is why.
fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::unavailable(source).of(BackEnd::Bus)
}

/// The messages that are published from now on.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// The keys of the next message. After an error the subscription is over: something may have
    /// been missed.
    async fn next(&mut self) -> Result<Vec<KeyDigest>, StoreError>;
}

#[async_trait]
impl<I: Invalidations + ?Sized> Invalidations for Arc<I> {
    async fn publish(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
        (**self).publish(digests).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        (**self).subscribe().await
    }
}
