//! [`LocalInvalidations`]: within one process.

use tokio::sync::broadcast;

use super::{Announcement, Invalidations, Subscription, unavailable};
use crate::{error::StoreError, runtime::async_methods};

/// Carries invalidations within one process, between caches that do not know of each other.
///
/// Clones are the same bus.
#[derive(Clone, Debug)]
pub struct LocalInvalidations(broadcast::Sender<Announcement>);

/// Messages that a slow subscriber may be behind by.
const CAPACITY: usize = 1_024;

impl LocalInvalidations {
    /// A new bus.
    pub fn new() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl Default for LocalInvalidations {
    fn default() -> Self {
        Self::new()
    }
}

impl Invalidations for LocalInvalidations {
    async_methods! {
        async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
            if !announcement.is_empty() {
                // An error says that there is no subscriber.
                let _ = self.0.send(announcement.clone());
            }
            Ok(())
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
            let subscription = Local(self.0.subscribe());
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        }
    }
}

struct Local(broadcast::Receiver<Announcement>);

impl Subscription for Local {
    async_methods! {
        async fn next(&mut self) -> Result<Announcement, StoreError> {
            self.0.recv().await.map_err(unavailable)
        }
    }
}
