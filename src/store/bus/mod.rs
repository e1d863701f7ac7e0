//! [`Invalidations`]: how nodes tell each other to forget a key.

mod announced;
mod announced_key;
mod announcement;
mod announcer;
mod local;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod message;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::{error::Error, sync::Arc};

use crate::{
    error::{BackEnd, StoreError},
    runtime::async_methods,
};

pub(crate) use self::announced::Announced;
pub use self::announced_key::{AnnouncedKey, AnnouncedState};
pub use self::announcement::Announcement;
pub use self::local::LocalInvalidations;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresInvalidations;
#[cfg(feature = "redis")]
pub use self::redis::RedisInvalidations;

/// Carries "this key was created or changed" between nodes: from the [`KeyManager`](crate::KeyManager) that
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
///
/// # A bus of your own
///
/// It carries an [`Announcement`] as text: [`to_text`](Announcement::to_text) writes it, or
/// [`to_texts`](Announcement::to_texts) where messages are bounded, and
/// [`parse`](Announcement::parse) reads what came, whatever it is.
///
/// Stores may share a bus and a channel: a cache passes over what is announced of another store than
/// its own, by their [identities](super::StoreId).
pub trait Invalidations: Send + Sync + 'static {
    async_methods! {
        /// Tells every subscriber. Nothing is sent of an announcement that
        /// [says nothing](Announcement::is_empty).
        async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError>;

        /// Starts to listen.
        async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError>;
    }
}

/// The bus does not work, and this is why.
fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::unavailable(source).of(BackEnd::Bus)
}

/// The messages that are published from now on.
pub trait Subscription: Send + 'static {
    async_methods! {
        /// The next message. After an error the subscription is over: something may have been missed. A
        /// message that [cannot be read](Announcement::is_readable) is no error.
        async fn next(&mut self) -> Result<Announcement, StoreError>;
    }
}

impl<I: Invalidations + ?Sized> Invalidations for Arc<I> {
    async_methods! {
        async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
            (**self).publish(announcement).await
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
            (**self).subscribe().await
        }
    }
}
