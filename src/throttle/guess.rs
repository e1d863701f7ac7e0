//! [`Guess`]: a key that is being looked up, of which it is open whether it was guessed.

use std::{net::IpAddr, time::Duration};

use super::{FailureThrottle, debtors::Debtors};
use crate::runtime::Permit;

/// A lookup of a client that a throttle knows. The lookup settles it, whether or not the client still
/// waits: as a [failure](Self::failed), or by dropping it.
pub(crate) struct Guess {
    throttle: FailureThrottle,
    debtors: Debtors,
    /// Of a lookup that most probably finds nothing: so many of a client may be under way.
    permit: Option<Permit>,
}

/// Why a lookup does not begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// Meanwhile the client has failed too often, and has to wait so long.
    Throttled(Duration),
    /// Too many lookups wait.
    Full,
}

impl FailureThrottle {
    /// For a lookup that begins. Takes a hash of the address and of the credential, and keeps neither.
    pub(crate) fn guess(&self, address: IpAddr, key: &[u8]) -> Guess {
        let debtors = Debtors::new(&self.0.hasher, address, key);
        Guess { throttle: self.clone(), debtors, permit: None }
    }
}

impl Guess {
    /// Waits until fewer lookups of this client are pending that most probably find nothing.
    pub(crate) async fn pend(mut self) -> Result<Self, NotNow> {
        let inner = &self.throttle.0;
        let ticket = inner.pending.join(self.debtors.widest()).ok_or(NotNow::Full)?;
        let permit = match ticket.now() {
            Ok(permit) => permit,
            Err(ticket) => ticket.wait().await.ok_or(NotNow::Full)?,
        };
        // Those before it have been settled since this client was judged.
        if let Some(wait) = inner.wait_of(&self.debtors) {
            return Err(NotNow::Throttled(wait));
        }
        self.permit = Some(permit);
        Ok(self)
    }

    /// There is no such key.
    pub(crate) fn failed(self) {
        self.throttle.0.charge(&self.debtors);
        // Only now: the next one that waits is judged by what this client owes.
        drop(self.permit);
    }
}
