//! [`Verification`]: a request that waits for its key to be proven.

use std::sync::Arc;

use super::{Inner, calls::Answer};
use crate::{key::KeyDigest, runtime::Waiter};

/// A verification as one request sees it, of several that may wait for it.
///
/// Dropped, or [left](Self::leave), it takes the request away: a verification that no request waits for
/// is given up, unless a hash is being computed.
pub(crate) struct Verification {
    waiter: Waiter<Answer>,
    seat: Option<Seat>,
}

impl Verification {
    /// For a request that was counted as waiting.
    pub(super) fn new(
        waiter: Waiter<Answer>,
        inner: Arc<Inner>,
        digest: KeyDigest,
        number: u64,
    ) -> Self {
        Self { waiter, seat: Some(Seat { inner, digest, number }) }
    }

    /// The answer; `None` if the verification was given up.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        self.waiter.answer().await
    }

    /// The request does not wait any more. The [answer](Self::answer) may come all the same.
    pub(crate) fn leave(&mut self) {
        self.seat = None;
    }
}

/// A request that waits.
struct Seat {
    inner: Arc<Inner>,
    digest: KeyDigest,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inner.calls.lock().leave(&self.digest, self.number);
    }
}
