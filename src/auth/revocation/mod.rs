//! [`Revocation`]: the end of a key, for what outlives the request that it came in with.

mod owners;
mod registry;
mod watch;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

pub(crate) use self::owners::{OwnerJudge, register_owner_layer};
pub(super) use self::registry::{config_of, register};
use self::watch::State;
use super::authenticated::AuthenticatedKey;
use crate::{key::RejectionKind, runtime::chance};

/// Streams that end because the store is silent do so within this time, each at a moment of its own: all
/// their clients would come back at once.
const SPREAD: Duration = Duration::from_mins(1);

/// How many watches may end before a stream does.
const TRIES: u32 = 5;

/// A future that ends when a key can no longer be used, with the kind of denial that a request with it gets
/// from then on. [`AuthenticatedKey::revoked`] makes it.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Revocation {
    key: AuthenticatedKey,
    outlasts_outages: bool,
    waiting: Option<Pin<Box<dyn Future<Output = RejectionKind> + Send>>>,
}

impl Revocation {
    pub(super) const fn new(key: AuthenticatedKey) -> Self {
        Self { key, outlasts_outages: false, waiting: None }
    }

    /// Goes on while the store is silent, however long. By default it ends as
    /// [`Unavailable`](RejectionKind::Unavailable) within a minute after the store has been silent for as
    /// long as a cache would use what it knows.
    pub const fn outlasting_outages(mut self) -> Self {
        self.outlasts_outages = true;
        self
    }
}

impl Future for Revocation {
    type Output = RejectionKind;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<RejectionKind> {
        let this = self.get_mut();
        let waiting = this
            .waiting
            .get_or_insert_with(|| Box::pin(end(this.key.clone(), this.outlasts_outages)));
        waiting.as_mut().poll(context)
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("key", &self.key.id()).finish_non_exhaustive()
    }
}

/// The end of a key.
async fn end(key: AuthenticatedKey, outlasts_outages: bool) -> RejectionKind {
    // Without these nothing tells of the key: it must not seem good for ever.
    let watched = || registry::watch(&Handle::try_current().ok()?, &key);
    let Some(mut states) = watched() else { return RejectionKind::Unavailable };
    let mut tries = 0;
    loop {
        let state = *states.borrow_and_update();
        let is_told = match state {
            State::Ended(kind) => return kind,
            State::Silent if !outlasts_outages => {
                let end = Instant::now() + chance(SPREAD);
                match timeout_at(end, states.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => return RejectionKind::Unavailable,
                }
            }
            State::Silent | State::Good => states.changed().await,
        };
        if is_told.is_ok() {
            continue;
        }
        if let State::Ended(kind) = *states.borrow() {
            return kind;
        }
        // The runtime of the watch was shut down, and not that of this stream; or a store has panicked, and
        // will again.
        tries += 1;
        match watched() {
            Some(again) if tries < TRIES => states = again,
            _ => return RejectionKind::Unavailable,
        }
    }
}
