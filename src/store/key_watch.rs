//! [`KeyWatch`]: how a store has one key watched.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

/// How long a found key is used without asking again, where no cache says something else.
const EVERY: Duration = Duration::from_secs(30);

/// A cache's default times together.
const SILENCE: Duration = Duration::from_secs(330);

/// How a store has one key watched, for streams that [end with it](crate::AuthenticatedKey::revoked): when
/// it has to be looked up again.
pub struct KeyWatch {
    pub(crate) changed: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(crate) every: Duration,
    pub(crate) silence: Duration,
}

impl Default for KeyWatch {
    /// Of a store that does not hear of changes: every 30 seconds.
    fn default() -> Self {
        Self::new(pending())
    }
}

impl KeyWatch {
    /// Of a store that hears of changes: `changed` ends when there may have been one since this was made.
    pub fn new(changed: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { changed: Box::pin(changed), every: EVERY, silence: SILENCE }
    }

    /// How long the key is watched without another look, at most; 30 seconds by default. Up to a tenth
    /// less, by chance.
    #[must_use]
    pub const fn with_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// How long the store may be silent before the key is taken to have come to its end; five and a
    /// half minutes by default.
    #[must_use]
    pub const fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

impl fmt::Debug for KeyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWatch")
            .field("every", &self.every)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}
