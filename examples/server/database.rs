//! The store behind `DATABASE_URL`, the cache in front of it, and the bus between nodes.

use std::{error::Error, sync::Arc, time::Duration};

use tower_api_key::{
    KeyManager,
    key::{KeyAction, KeyEvent},
    store::{self, CachedStore, ConnectError, Invalidations, KeyRepository},
};

use crate::{config::Config, logs::causes};

/// An open store.
pub(crate) struct Database {
    pub(crate) repository: Arc<dyn KeyRepository>,
    bus: Option<Arc<dyn Invalidations>>,
}

impl Database {
    pub(crate) async fn open(config: &Config) -> Result<Self, Box<dyn Error>> {
        let store =
            store::connect(config.database.as_str()).await.map_err(|error| match error {
                ConnectError::Config(error) => format!("DATABASE_URL: {}", causes(&error)),
                error => {
                    format!("DATABASE_URL: cannot use {}: {}", config.database, causes(&error))
                }
            })?;
        let bus = bus(config).await?;
        let repository = match (config.cache_ttl, &bus) {
            (Duration::ZERO, _) => {
                tracing::info!("keys are not cached");
                store
            }
            (ttl, None) => {
                tracing::info!(
                    "keys are cached for {} s; changes by another node are noticed by then",
                    ttl.as_secs()
                );
                Arc::new(CachedStore::builder(store).with_ttl(ttl).build())
            }
            (ttl, Some(bus)) => {
                tracing::info!(
                    "keys are cached for {} s; changes by another node are noticed at once",
                    ttl.as_secs()
                );
                Arc::new(
                    CachedStore::builder(store)
                        .with_ttl(ttl)
                        .with_invalidations(bus.clone())
                        .build(),
                )
            }
        };
        Ok(Self { repository, bus })
    }

    pub(crate) fn manager(&self) -> KeyManager {
        let manager = KeyManager::new(self.repository.clone()).with_event_hook(log);
        match &self.bus {
            Some(bus) => manager.with_invalidations(bus.clone()),
            None => manager,
        }
    }
}

/// Logs the acts on keys, by their ids. Denials are in the log already, at DEBUG.
fn log(event: &KeyEvent) {
    if let (Some(key), false) = (event.key, matches!(event.action, KeyAction::Denied(_))) {
        let actor = event.actor.as_deref();
        tracing::info!(%key, actor, "key {}", event.action);
    }
}

/// The bus for invalidations: the one that `REDIS_URL` names, or else the database if it can.
async fn bus(config: &Config) -> Result<Option<Arc<dyn Invalidations>>, String> {
    let url = config.redis.as_ref().unwrap_or(&config.database);
    let variable = if config.redis.is_some() { "REDIS_URL" } else { "DATABASE_URL" };
    store::connect_bus(url.as_str()).await.map_err(|error| {
        format!("{variable}: cannot announce changes through {url}: {}", causes(&error))
    })
}
